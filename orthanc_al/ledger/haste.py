"""The order inside the queue: what looks urgent is looked at further before what does not."""

from collections.abc import Collection

from sqlalchemy import Connection, or_, select, update

from orthanc_al.ledger.schema import instances, jobs
from orthanc_al.pipeline import Step


def hasten(
    connection: Connection, steps: Collection[Step], study_instance_uid: str, seconds: float, time: float
) -> None:
    """Let the due jobs of a study and of its instances go before all that came less than ``seconds`` earlier.

    Once: a study that waits longer than that is not overtaken, however often this is said. What waits for
    its time goes on to wait.
    """
    of_study = select(instances.c.id).where(instances.c.study_instance_uid == study_instance_uid)
    earlier = jobs.c.created_at - seconds
    connection.execute(
        update(jobs)
        .where(
            jobs.c.state == "ready",
            jobs.c.step.in_([step.value for step in steps]),
            jobs.c.run_at <= time,
            jobs.c.run_at > earlier,
            or_(jobs.c.subject == study_instance_uid, jobs.c.subject.in_(of_study)),
        )
        .values(run_at=earlier)
    )
