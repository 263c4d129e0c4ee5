"""What the day left of the budget is spent on the best of the studies that are still unread."""

from dataclasses import replace

from sqlalchemy import Connection

from orthanc_al.ledger import Ledger, enqueue, facts, selections, trail
from orthanc_al.methods import audit
from orthanc_al.observe import Clock, now
from orthanc_al.pipeline import Step
from orthanc_al.select import rules
from orthanc_al.select.stage import Budget, as_case, expected_per_day, plan_of, selection_of

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
        seed = facts.selection_seed(connection)
        expected = expected_per_day(connection, budget, time)
        pi = audit.propensity(budget.per_day, budget.audit_fraction, expected)
        cases = [as_case(one) for one in pool]
        plan = plan_of(connection, pool[0].model_digest)(1.0)
        asked = rules.ask_at_days_end(cases, left, plan, seed, day)
        models = {one.study_instance_uid: one.model_digest for one in pool}
        digest = rules.digest(cases)
        for query in asked:
            uid = query.study_instance_uid
            selection = selection_of(query, pi, seed, time, day, digest, models[uid])
            selections.add(
                connection, replace(selection, reason=f"{selection.reason}; asked at the day's end")
            )
            enqueue(connection, Step.REPORT, uid, time, sooner=True)
        trail.record(connection, "select", "budget_spent", day, asked=len(asked), left=left, pool=len(pool))
    return [query.study_instance_uid for query in asked]


def _pool(connection: Connection, time: float, day: str) -> list[selections.ScoredStudy]:
    """Return the studies that may be asked about, one a patient (the newest)."""
    by_patient: dict[str, selections.ScoredStudy] = {}
    for one in selections.unasked_since(connection, time - _DAY):
        if not selections.patient_was_asked(connection, one.patient_key, day):
            by_patient.setdefault(one.patient_key, one)
    return list(by_patient.values())
