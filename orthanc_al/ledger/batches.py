"""Which jobs are taken together: small ones, of which each would cost two transactions by itself.

Never so many that an urgent film waits long behind them: after a batch the queue's order decides anew. Nor
one that was tried before: what kills its process takes its neighbours with it once, and then is alone.
"""

from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, RowMapping, exists, select

from orthanc_al.ledger.schema import instances, jobs
from orthanc_al.ledger.waiting import WAITS
from orthanc_al.pipeline import Step

MOST: Final = 32
_SMALL: Final = 4 << 20
"""Bytes of an instance: a slice of 512 x 512 pixels has half a megabyte. What is larger is taken alone."""
_SLICES: Final = ("CT", "MR")


def beside(connection: Connection, lead: RowMapping, time: float) -> list[RowMapping]:
    """Return the jobs that are due and may be done together with a job that is about to be taken.

    Headers are looked at together whatever they are of; slices are scored together with those of their study.
    """
    if lead["step"] not in (Step.ARRIVE, Step.SCORE_IMAGE) or lead["state"] != "ready" or lead["attempts"]:
        return []
    query = select(instances.c.size, instances.c.modality, instances.c.study_instance_uid).where(
        instances.c.id == lead["subject"]
    )
    own = connection.execute(query).first()
    if own is None or own.size > _SMALL:
        return []
    if lead["step"] == Step.SCORE_IMAGE and own.modality not in _SLICES:
        return []  # one for each worker: a film may take seconds
    others = (
        select(jobs)
        .where(
            WAITS,
            jobs.c.step == lead["step"],
            jobs.c.attempts == 0,
            jobs.c.run_at <= time,
            jobs.c.id != lead["id"],
            _alike(lead, own),
        )
        .order_by(jobs.c.run_at, jobs.c.id)
        .limit(MOST - 1)
        .with_for_update(skip_locked=True)
    )
    return list(connection.execute(others).mappings())


def _alike(lead: RowMapping, own: Any) -> ColumnElement[bool]:
    small = instances.c.size <= _SMALL
    if lead["step"] == Step.ARRIVE:
        return exists().where(instances.c.id == jobs.c.subject, small)
    of_study = select(instances.c.id).where(
        instances.c.study_instance_uid == own.study_instance_uid, instances.c.modality == own.modality, small
    )
    return jobs.c.subject.in_(of_study)
