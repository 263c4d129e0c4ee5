"""Promise 3, as queries: what `orthanc-al doctor` proves from the ledger.

Every instance received is at every destination or on its way there, and every study is scored, carries a
stated reason why not, or has work that is still to be done.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, and_, exists, func, or_, select

from orthanc_al.domain import StudyState
from orthanc_al.ledger.schema import deliveries, instances, jobs, studies
from orthanc_al.ledger.waiting import enqueue
from orthanc_al.observe import now
from orthanc_al.pipeline import Step

_UNFINISHED: Final = (StudyState.ARRIVING.value, StudyState.COMPLETE.value)


def studies_left_behind(connection: Connection) -> Sequence[str]:
    """Return the studies that are neither scored nor reasoned and for which no work is on the queue."""
    of_study = and_(
        instances.c.study_instance_uid == studies.c.study_instance_uid, jobs.c.subject == instances.c.id
    )
    work = or_(
        exists().where(jobs.c.subject == studies.c.study_instance_uid),
        exists().where(of_study),
    )
    query = select(studies.c.study_instance_uid).where(
        or_(
            studies.c.state.in_(_UNFINISHED),
            and_(studies.c.state == StudyState.INELIGIBLE.value, studies.c.reason.is_(None)),
        ),
        ~work,
    )
    return list(connection.scalars(query))


def take_up(connection: Connection, subject: str | None = None) -> int:
    """Put what is left behind (one study or instance of it) back on the queue; return how much that was."""
    missed = [(Step.ARRIVE, one) for one in instances_left_behind(connection)]
    for uid in studies_left_behind(connection):
        state = connection.scalar(select(studies.c.state).where(studies.c.study_instance_uid == uid))
        missed.append((Step.ASSEMBLE if state == StudyState.ARRIVING else Step.SCORE, uid))
    wanted = [(step, one) for step, one in missed if subject in (None, one)]
    for step, one in wanted:
        enqueue(connection, step, one, now())
    return len(wanted)


def instances_left_behind(connection: Connection) -> Sequence[str]:
    """Return the instances that nobody has looked at and for which no work is on the queue."""
    query = select(instances.c.id).where(
        instances.c.kind.is_(None), ~exists().where(jobs.c.subject == instances.c.id)
    )
    return list(connection.scalars(query))


def instances_without_delivery(connection: Connection, destination: str) -> int:
    """Return how many instances by DICOM were never meant for ``destination``.

    Those received before the destination was configured; none otherwise.
    """
    meant = exists().where(
        deliveries.c.instance_id == instances.c.id, deliveries.c.destination == destination
    )
    query = select(func.count()).where(
        instances.c.origin == "dicom",
        instances.c.source != destination,
        or_(instances.c.kind.is_(None), instances.c.kind != "own"),
        ~meant,
    )
    return int(connection.execute(query).scalar_one())


def quarantined(connection: Connection) -> Sequence[tuple[str, str, str]]:
    """Return step, subject and reason of the jobs in quarantine."""
    query = select(jobs.c.step, jobs.c.subject, jobs.c.error).where(jobs.c.state == "quarantined")
    return [(row[0], row[1], row[2] or "") for row in connection.execute(query)]


def spooled_sizes(connection: Connection) -> dict[str, int]:
    """Return the instances whose file the ledger believes to be in the spool, with their data set's bytes."""
    rows = connection.execute(select(instances.c.id, instances.c.size).where(instances.c.spooled))
    return {row.id: row.size for row in rows}


def spooled_ids(connection: Connection) -> set[str]:
    """Return the instances whose file the ledger believes to be in the spool."""
    return set(connection.scalars(select(instances.c.id).where(instances.c.spooled)))
