"""The step ``retrain``: one night's learning of one model, from the ledger's reads to a verdict.

In this order: the champion's audits are watched, and may take it back; a candidate whose time in shadow is
over goes live; else, where no candidate is in shadow, a new one is made and judged.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection

from orthanc_al.errors import PackageRefusedError
from orthanc_al.inference.package import ModelPackage
from orthanc_al.learn.evening import Evening, evening_of
from orthanc_al.learn.finding_model import finding_models
from orthanc_al.learn.finetune.start import Start
from orthanc_al.learn.fit import Guarantee
from orthanc_al.learn.judgement import Verdict
from orthanc_al.learn.lock import alone
from orthanc_al.learn.night import GATE, Night, write_night, write_record
from orthanc_al.learn.packages import check_length, load
from orthanc_al.learn.pccp import Plan
from orthanc_al.learn.proposals import result_of
from orthanc_al.learn.records import verdict_of, withdrawal_record
from orthanc_al.learn.registry import make_package, version_of
from orthanc_al.learn.snapshot import Snapshot
from orthanc_al.learn.watch import AuditChart, audit_charts
from orthanc_al.ledger import (
    Job,
    Ledger,
    Outcome,
    datasets,
    learning,
    lineage,
    models,
    shadow,
    trail,
    training_cache,
)
from orthanc_al.ledger.models import RegisteredModel
from orthanc_al.observe import Clock, logger, now

if TYPE_CHECKING:
    from orthanc_al.learn.finetune.night import FineTuning

_DAY: Final = 86400.0
_log = logger("learn")


class RetrainStage:
    """Watches, fits, judges and, where the site lets it, promotes; runs in the learner's process.

    Work may run twice: the same reads give the same snapshot, the same version and the same bytes.

    Parameters
    ----------
    ledger
        Where reads, predictions and packages are.
    folder
        For the packages that are made, one folder a model.
    guarantee
        What the tiers promise.
    plan
        What may change, and by how much.
    automatic
        Whether a candidate that is better goes live, and a champion that fails is taken back, without a
        person's word.
    shown_weight
        How much a read counts in training that was made with a result in view, 0 to 1.
    fine_tuning
        Trains the whole network before a new head is tried; None: heads alone.
    clock
        Seconds since 1970; tests pass their own.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        guarantee: Guarantee,
        plan: Plan,
        *,
        automatic: bool,
        shown_weight: float = 1.0,
        fine_tuning: "FineTuning | None" = None,
        clock: Clock = now,
    ) -> None:
        self._ledger = ledger
        self._folder = folder
        self._guarantee = guarantee
        self._plan = plan
        self._automatic = automatic
        self._shown_weight = shown_weight
        self._fine_tuning = fine_tuning
        self._clock = clock

    def run(self, job: Job) -> Outcome:
        """Learn for the model that is the job's subject.

        Outcome withdrawn (the audit took the champion back), alarm (a person has to), promoted, in_shadow,
        candidate, kept or nothing_new.

        Raises
        ------
        LearningBusyError
            Another process is learning for this model.
        ModelError
            No package of that name is live, or its embeddings are not those of its head.
        PackageRefusedError
            The champion's or the factory's package is not what the ledger says.
        """
        with alone(self._folder, job.subject):
            with self._ledger.read() as connection:
                evening = evening_of(
                    connection, job.subject, self._plan, self._clock(), shown_weight=self._shown_weight
                )
            alarms = self._alarms(evening)
            if any(chart.alarm is not None for chart in alarms):
                return self._withdraw(evening, alarms)
            return self._promote(evening) or self._fine_tune(evening) or self._learn(evening)

    # --- the watch over the champion ------------------------------------------------------------------

    def _alarms(self, evening: Evening) -> list[AuditChart]:
        """Return the charts of the champion's audits, none where nothing was judged before."""
        if not evening.snapshot.cases:
            return []
        champion = load(evening.champion)
        check_length(evening.snapshot, champion)
        return [
            chart
            for model in finding_models(champion)
            for chart in audit_charts(evening.snapshot, model, evening.live_since, self._plan.watch)
        ]

    def _withdraw(self, evening: Evening, charts: list[AuditChart]) -> Outcome:
        """Go back to what was live before, or say why that is left to a person."""
        with self._ledger.read() as connection:
            before = models.previous(connection, evening.champion.ref.name)
            told = learning.was_told(connection, evening.champion.ref.digest, evening.live_since)
        instead = before if self._automatic and _loads(before) else None
        told_by = "; ".join(str(chart) for chart in charts if chart.alarm is not None)
        _log.error(
            "audit_alarm",
            model=evening.champion.ref.name,
            version=evening.champion.ref.version,
            reason=told_by,
        )
        if told and instead is None:
            return self._promote(evening) or self._learn(evening)  # it was said; learning is the way out
        record = withdrawal_record(
            champion=evening.champion.ref,
            instead=None if instead is None else instead.ref,
            snapshot=evening.snapshot,
            charts=charts,
            plan=self._plan,
            at=evening.time,
        )

        def write(connection: Connection) -> None:
            name, digest = evening.champion.ref.name, evening.champion.ref.digest
            if instead is not None and _is_live(connection, name, digest):
                models.rollback(connection, name, GATE, f"the audit's charts tell: {told_by}")
            datasets.add(connection, evening.snapshot.digest, evening.snapshot.content(), evening.time)
            write_record(connection, record, self._folder, candidate=None, at=evening.time)
            trail.record(connection, GATE, "audit_alarm", digest, reason=told_by)

        return Outcome("alarm" if instead is None else "withdrawn", write)

    # --- the candidate in shadow ------------------------------------------------------------------------

    def _promote(self, evening: Evening) -> Outcome | None:
        """Return what becomes of the candidate in shadow, None where there is none, or its time is over."""
        candidate = evening.candidate
        if candidate is None or not self._plan.shadow.rule.asks:
            return None
        if evening.missing:
            _log.info("candidate_in_shadow", version=candidate.ref.version, missing=evening.missing)
            over = evening.time - candidate.created_at > self._plan.shadow.max_days * _DAY
            return None if over else Outcome("in_shadow")
        if (
            not self._automatic or candidate.origin == models.CONVERTED
        ):  # no gate judged that one: a person does
            return None
        champion = evening.champion.ref

        def write(connection: Connection) -> None:
            if _is_live(connection, champion.name, champion.digest):
                seen = shadow.seen_by(connection, candidate.ref.digest)
                reason = f"all checks of the gate hold; {seen}"
                models.promote(connection, candidate.ref.digest, GATE, reason)

        return Outcome("promoted", write)

    # --- a new candidate --------------------------------------------------------------------------------

    def _fine_tune(self, evening: Evening) -> Outcome | None:
        """Return what becomes of a network of its own, None where none is asked for or this was judged."""
        snapshot, champion = evening.snapshot, evening.champion.ref
        if self._fine_tuning is None or not snapshot.cases:
            return None
        with self._ledger.read() as connection:
            files = training_cache.files(connection)
            factory = lineage.factory(connection, champion.digest)
        live, backbone, first = (load(model) for model in (evening.champion, evening.anchor, factory))
        start = Start(live, backbone, first, snapshot, files, evening.time)
        with self._ledger.read() as connection:
            judged = learning.was_judged(connection, champion.digest, self._fine_tuning.version(start))
        if judged:
            return None
        night = self._fine_tuning.night(start)
        if night is None:
            return None
        _log.info("network_judged", model=champion.name, version=night.version, verdict=night.verdict.value)
        at_once = self._automatic and not self._plan.shadow.rule.asks
        return Outcome(_outcome(night, at_once=at_once), self._writer(night, at_once=at_once))

    def _learn(self, evening: Evening) -> Outcome:
        snapshot, name = evening.snapshot, evening.champion.ref.name
        champion, anchor = evening.champion.ref, evening.anchor.ref
        version = version_of(snapshot, anchor, champion, self._guarantee, self._plan.model_dump_json())
        with self._ledger.read() as connection:
            judged = learning.was_judged(connection, champion.digest, version)
        if judged or not snapshot.cases:
            _log.info("nothing_new_to_learn", model=name, cases=len(snapshot.cases))
            return Outcome("nothing_new")
        _log.info("snapshot_taken", model=name, digest=snapshot.digest[:12], cases=len(snapshot.cases))
        night = self._judge(load(evening.champion), load(evening.anchor), snapshot, version, evening.time)
        _log.info("candidate_judged", model=name, version=night.version, verdict=night.verdict.value)
        at_once = self._automatic and not self._plan.shadow.rule.asks
        return Outcome(_outcome(night, at_once=at_once), self._writer(night, at_once=at_once))

    def _writer(self, night: Night, *, at_once: bool) -> Callable[[Connection], None]:
        return lambda connection: write_night(connection, night, self._folder, self._plan, at_once=at_once)

    def _judge(
        self, champion: ModelPackage, anchor: ModelPackage, snapshot: Snapshot, version: str, time: float
    ) -> Night:
        check_length(snapshot, anchor)
        results = tuple(
            result_of(snapshot, factory, live, self._guarantee, self._plan)
            for factory, live in zip(finding_models(anchor), finding_models(champion), strict=True)
        )
        verdict, refusal, made = verdict_of(results), "", None
        if verdict is Verdict.BETTER:
            try:
                made = make_package(
                    self._folder / champion.ref.name / version,
                    champion,
                    [result.chosen for result in results],
                    snapshot,
                    version,
                    parity=self._plan.gate.parity,
                )
            except PackageRefusedError as error:
                verdict, refusal = Verdict.REFUSED, str(error)
        return Night(champion, anchor, snapshot, version, results, verdict, refusal, made, time)


def _outcome(night: Night, *, at_once: bool) -> str:
    if night.made is None:
        return "kept"
    return "promoted" if at_once else "candidate"


def _loads(before: RegisteredModel | None) -> bool:
    """Whether there is a package to go back to that holds: one that does not would stop scoring."""
    try:
        return before is not None and load(before) is not None
    except PackageRefusedError as error:
        _log.error("no_way_back", reason=str(error))
        return False


def _is_live(connection: Connection, name: str, digest: str) -> bool:
    """Whether the package that was looked at is live still: somebody may have acted meanwhile."""
    live = models.champion(connection, name)
    return live is not None and live.ref.digest == digest
