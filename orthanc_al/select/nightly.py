"""What the day left of the budget is spent on the best of the studies that are still unread."""

from dataclasses import replace

from sqlalchemy import Connection

from orthanc_al.ledger import Ledger, enqueue, facts, scored_studies, selections, trail
from orthanc_al.ledger.scored_studies import ScoredStudy
from orthanc_al.methods import audit
from orthanc_al.observe import Clock, now
from orthanc_al.pipeline import Step
from orthanc_al.select import rules
from orthanc_al.select.days_end import ask_at_days_end
from orthanc_al.select.stage import Budget, as_case, expected_per_day, known, selection_of

_DAY = 86400.0


def spend_the_rest(ledger: Ledger, budget: Budget, clock: Clock = now) -> list[str]:
    """Ask about the best unread studies of the last 24 hours, as many as the day's budget has left.

    One transaction decides, writes and enqueues the reports that carry the questions, so running it twice
    asks no more than the budget holds. Audits are never drawn here: the scores have been seen.

    Returns
    -------
    list[str]
        Study Instance UIDs, the best first.
    """
    time = clock()
    day = budget.day(time)
    with ledger.write() as connection:
        left = budget.per_day - sum(selections.spent(connection, day).values())
        pool = _pool(connection, time, day) if left > 0 else []
        if not pool:
            return []
        asked = [
            query
            for model, share in _shares(pool, left)
            for query in _ask(connection, budget, time, model, share)
        ]
        trail.record(connection, "select", "budget_spent", day, asked=len(asked), left=left, pool=len(pool))
    return asked


def _shares(pool: list[ScoredStudy], left: int) -> list[tuple[list[ScoredStudy], int]]:
    """Return each model's studies and its share: embeddings compare within one model alone."""
    by_model: dict[str, list[ScoredStudy]] = {}
    for one in pool:
        by_model.setdefault(one.model_digest, []).append(one)
    shares, rest, studies = [], left, len(pool)
    for mine in sorted(by_model.values(), key=len):
        share = round(rest * len(mine) / studies)
        shares.append((mine, share))
        rest, studies = rest - share, studies - len(mine)
    return shares


def _ask(
    connection: Connection, budget: Budget, time: float, pool: list[ScoredStudy], count: int
) -> list[str]:
    """Decide about one model's studies, write the questions and enqueue what carries them."""
    seed, day, model = facts.selection_seed(connection), budget.day(time), pool[0].model_digest
    expected = expected_per_day(connection, budget, time)
    pi = audit.propensity(budget.per_day, budget.audit_fraction, expected)
    cases = [as_case(one) for one in pool]
    labelled = scored_studies.asked_embeddings(connection, model)
    asked = ask_at_days_end(cases, count, known(connection, model), seed, day, labelled)
    for query in asked:
        uid = query.study_instance_uid
        selection = selection_of(query, pi, seed, time, day, rules.digest(cases), model)
        selections.add(connection, replace(selection, reason=f"{selection.reason}; asked at the day's end"))
        enqueue(connection, Step.REPORT, uid, time)
    return [query.study_instance_uid for query in asked]


def _pool(connection: Connection, time: float, day: str) -> list[ScoredStudy]:
    """Return the studies that may be asked about, one a patient (the newest)."""
    by_patient: dict[str, ScoredStudy] = {}
    for one in scored_studies.unasked_since(connection, time - _DAY):
        if not selections.patient_was_asked(connection, one.patient_key, day):
            by_patient.setdefault(one.patient_key, one)
    return list(by_patient.values())
