"""The step ``select``: the last one before a result may be seen by anybody.

What is decided: a random audit (blind until its read is signed, decided before the score is looked at),
a question to the radiologist, or neither. Only here is a prediction's tier written to where pages look.
"""

from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from functools import cached_property

from sqlalchemy import Connection

from orthanc_al.domain import StudyState, Tier
from orthanc_al.ledger import Job, Ledger, Outcome, enqueue, facts, scored_studies, selections
from orthanc_al.ledger.predictions import StoredPrediction, latest
from orthanc_al.ledger.scored_studies import ScoredStudy
from orthanc_al.ledger.selections import AUDIT, QUERY, Candidate, Selection
from orthanc_al.methods import audit
from orthanc_al.observe import Clock, now
from orthanc_al.pipeline import Step
from orthanc_al.select import rules

_DAY = 86400.0
_COUNTED_DAYS = 14.0
_PEERS = 1000
_URGENT = frozenset({Tier.HIGH, Tier.REVIEW})


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be asked of the radiologist.

    Attributes
    ----------
    per_day
        Studies, audits included.
    audit_fraction
        Share of it that is drawn at random, in [0, 1].
    expected_per_day
        Eligible studies a day; 0 to count those of the last two weeks.
    timezone
        Of the site: where its day begins.
    """

    per_day: int
    audit_fraction: float
    expected_per_day: float
    timezone: tzinfo

    def day(self, time: float) -> str:
        """Return the site's date at ``time`` (seconds since 1970), as in ISO 8601."""
        return datetime.fromtimestamp(time, self.timezone).date().isoformat()


@dataclass(frozen=True, slots=True)
class _View:
    """What the ledger says that bears on one study."""

    study: Candidate
    predictions: list[StoredPrediction]
    drawn: dict[str, Selection]
    seed: str


class SelectStage:
    """Draws audits, asks within the day's budget, and puts the study where it belongs.

    Parameters
    ----------
    ledger
        Where all of it is.
    budget
        Of the site.
    clock
        Seconds since 1970; tests pass their own.
    """

    def __init__(self, ledger: Ledger, budget: Budget, clock: Clock = now) -> None:
        self._ledger = ledger
        self._budget = budget
        self._clock = clock

    def run(self, job: Job) -> Outcome:
        """Decide about the study that is the job's subject; outcome blind, asked, unasked or superseded."""
        time, seed = self._clock(), self._seed
        with self._ledger.read() as connection:
            view = self._look(connection, job.subject, seed)
            if view is None:
                return Outcome("superseded")
            selection = self._decide(connection, view, time)
        if selection is not None and selection.kind == AUDIT and selection.signed_at is None:
            return Outcome("blind", lambda connection: self._hide(connection, view, selection, time))
        name = "asked" if selection is not None and selection.kind == QUERY else "unasked"
        # What is urgent is told before the images of what came later, the rest after those that are here.
        urgent = any(one.prediction.tier in _URGENT for one in view.predictions)
        run_at = {Step.REPORT: job.place(time)} if urgent else {}
        return Outcome(name, lambda connection: self._show(connection, view, selection, time), run_at=run_at)

    @cached_property
    def _seed(self) -> str:
        with self._ledger.write() as connection:  # it is made where there is none yet
            return facts.selection_seed(connection)

    @staticmethod
    def _look(connection: Connection, uid: str, seed: str) -> _View | None:
        study = selections.candidate(connection, uid)
        found = latest(connection, uid)
        if study is None or not found or any(one.read_by is None for one in found):
            return None
        if found[0].prediction.revision != study.revision:
            return None  # more images came: the study will be scored and placed anew
        return _View(study, found, selections.of_study(connection, uid), seed)

    def _decide(self, connection: Connection, view: _View, time: float) -> Selection | None:
        """Return what was drawn before (a late image changes the score, never the draw), else what is now."""
        before = view.drawn.get(AUDIT) or view.drawn.get(QUERY)
        if before is not None or self._budget.per_day <= 0:
            return before
        expected = expected_per_day(connection, self._budget, time)
        pi = audit.propensity(self._budget.per_day, self._budget.audit_fraction, expected)
        return self._audit(view, pi, time) or self._query(connection, view, pi, expected, time)

    def _audit(self, view: _View, pi: float, time: float) -> Selection | None:
        """Return the audit draw; a study whose score has been out already can't be blind any more."""
        uid = view.study.study_instance_uid
        if view.study.seen or not audit.is_drawn(view.seed, uid, pi):
            return None
        return Selection(
            study_instance_uid=uid,
            kind=AUDIT,
            strategy="random",
            propensity=pi,
            seed=audit.fingerprint(view.seed),
            decided_at=time,
            day=self._budget.day(time),
            model_digest=view.predictions[0].model.digest,
            fold=audit.fold_of(view.seed, view.study.patient_key),
            signed_at=view.study.signed_at,  # a read may be quicker than the model
        )

    def _query(
        self, connection: Connection, view: _View, pi: float, expected: float, time: float
    ) -> Selection | None:
        """Return the question, where one may be asked: what is quickly looked up comes first."""
        uid, day = view.study.study_instance_uid, self._budget.day(time)
        case = rules.Case(
            uid,
            tuple(one.prediction.probability for one in view.predictions),
            max(one.prediction.ood for one in view.predictions),
        )
        if (
            view.study.state is not StudyState.SCORED
            or not case.askable
            or not self._has_room(connection, view.study.patient_key, day)
        ):
            return None
        share = rules.query_share(self._budget.per_day, self._budget.audit_fraction, expected, pi)
        digest = view.predictions[0].model.digest
        peers = [rules.Case(*one) for one in scored_studies.recently_scored(connection, _PEERS, but=uid)]
        plan = rules.channels(share, known(connection, digest))
        query = rules.ask_on_arrival(case, peers, plan, view.seed)
        if query is None:
            return None
        return selection_of(query, pi, view.seed, time, day, rules.digest(peers), digest)

    def _hide(self, connection: Connection, view: _View, selection: Selection, time: float) -> None:
        """Note the draw and make the study blind, but for one that was signed while this was decided.

        Its results leave at once: the signature found no draw that it could have lifted the blind of.
        """
        uid = view.study.study_instance_uid
        now_signed = _candidate(connection, uid).signed_at
        selections.add(connection, replace(selection, signed_at=now_signed))
        drawn = selections.of_study(connection, uid)[AUDIT]
        if drawn.signed_at is None:
            selections.hide(connection, uid, time)
            return
        self._show(connection, view, drawn, time)
        enqueue(connection, Step.REPORT, uid, time)

    def _show(self, connection: Connection, view: _View, selection: Selection | None, time: float) -> None:
        """Place the study and note the draw.

        A question only if no other study took the day's last one, or the patient's, and nobody has read it
        meanwhile.
        """
        uid = view.study.study_instance_uid
        if selection is not None and self._still_holds(connection, view, selection):
            selections.add(connection, selection)
        first = min(view.predictions, key=lambda one: one.read_by or 0)
        selections.place(connection, uid, first.prediction.tier, first.why or "", first.read_by, time)

    def _still_holds(self, connection: Connection, view: _View, selection: Selection) -> bool:
        """Whether a draw is new and nothing forbids it since: several studies are decided about at a time."""
        if selection.kind in view.drawn:
            return False
        return selection.kind == AUDIT or (
            self._has_room(connection, view.study.patient_key, selection.day)
            and _candidate(connection, view.study.study_instance_uid).state is StudyState.SCORED
        )

    def _has_room(self, connection: Connection, patient_key: str, day: str) -> bool:
        """Whether a day's budget is left, and the patient was not asked about on it."""
        spent = sum(selections.spent(connection, day).values())
        return spent < self._budget.per_day and not selections.patient_was_asked(connection, patient_key, day)


def _candidate(connection: Connection, uid: str) -> Candidate:
    """Return a study that is known as it is under the write lock."""
    study = selections.candidate(connection, uid)
    if study is None:
        raise LookupError(f"study {uid} has left the ledger")
    return study


def expected_per_day(connection: Connection, budget: Budget, time: float) -> float:
    """Return the eligible studies expected a day: as configured, or counted over the last two weeks."""
    if budget.expected_per_day > 0:
        return budget.expected_per_day
    count, first = scored_studies.scored_since(connection, time - _COUNTED_DAYS * _DAY)
    return audit.expected_per_day(count, 0.0 if first is None else (time - first) / _DAY)


def known(connection: Connection, model_digest: str) -> rules.Known:
    """Return what is confirmed so far, and whether the audit speaks against the package's head."""
    audited = scored_studies.audited_scores(connection, model_digest)
    weak = rules.is_weak([score for score, _ in audited], [present for _, present in audited])
    return rules.Known(scored_studies.confirmed_positives(connection), weak)


def as_case(scored: ScoredStudy) -> rules.Case:
    """Return a study of the ledger as the rules see it."""
    return rules.Case(
        scored.study_instance_uid,
        scored.probabilities,
        scored.ood,
        tuple(scored.embedding.tolist()),
        scored.scanner,
    )


def selection_of(
    query: rules.Query, pi: float, seed: str, time: float, day: str, pool_digest: str, model_digest: str
) -> Selection:
    """Return the record of a query; its propensity is that of not being audited, and then flagged."""
    return Selection(
        study_instance_uid=query.study_instance_uid,
        kind=QUERY,
        strategy=query.strategy,
        propensity=(1.0 - pi) * query.weight,
        seed=audit.fingerprint(seed),
        decided_at=time,
        day=day,
        weight=query.weight,
        score=query.score,
        pool_digest=pool_digest,
        model_digest=model_digest,
        reason=query.reason,
    )
