"""The order inside the queue: what looks urgent is looked at further before what does not."""

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, Float, String, and_, bindparam, select, union_all, update

from orthanc_al.ledger.schema import instances, jobs
from orthanc_al.ledger.waiting import WAITS
from orthanc_al.pipeline import Step

# Said with many an image: to make a statement costs more than to run it. From the study's instances to their
# jobs, which an outer join makes sure of: by the way of the jobs, all that wait would be looked at.
_STEPS: Final = jobs.c.step.in_(bindparam("steps", expanding=True))
_STUDIES: Final = bindparam("studies", type_=String, expanding=True)
_OF_STUDIES: Final = union_all(
    select(jobs.c.id).where(WAITS, _STEPS, jobs.c.subject.in_(_STUDIES)),
    select(jobs.c.id)
    .select_from(instances.outerjoin(jobs, and_(jobs.c.subject == instances.c.id, _STEPS, WAITS)))
    .where(instances.c.study_instance_uid.in_(_STUDIES)),
)
_EARLIER: Final = jobs.c.created_at - bindparam("seconds", type_=Float)
_HASTEN: Final = (
    update(jobs)
    .where(jobs.c.id.in_(_OF_STUDIES), jobs.c.run_at <= bindparam("time"), jobs.c.run_at > _EARLIER)
    .values(run_at=_EARLIER)
)


def hasten(
    connection: Connection, steps: Collection[Step], uids: Collection[str], seconds: float, time: float
) -> None:
    """Let the due jobs of studies and their instances go before all that came less than ``seconds`` earlier.

    Once: a study that waits longer than that is not overtaken, however often this is said. What waits for
    its time goes on to wait.
    """
    if uids:
        names = {"steps": [step.value for step in steps], "studies": list(uids)}
        connection.execute(_HASTEN, {**names, "seconds": seconds, "time": time})
