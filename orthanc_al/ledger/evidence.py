"""What others say of how many instances a study has: performed procedure steps, and C-FIND at its source."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, func, select, update

from orthanc_al.ledger.schema import instances, procedure_steps, source_counts, studies
from orthanc_al.ledger.upserts import upsert
from orthanc_al.ledger.waiting import enqueue
from orthanc_al.observe import now
from orthanc_al.pipeline import Step

IN_PROGRESS: Final = "IN PROGRESS"


def step_created(
    connection: Connection, sop_instance_uid: str, study_instance_uid: str | None, source: str, status: str
) -> bool:
    """Write a performed procedure step (N-CREATE); return False where it is known."""
    values = {
        "sop_instance_uid": sop_instance_uid,
        "study_instance_uid": study_instance_uid,
        "source": source,
        "status": status,
        "changed_at": now(),
    }
    return bool(upsert(connection, procedure_steps, values, ["sop_instance_uid"]))


def step_status(connection: Connection, sop_instance_uid: str) -> str | None:
    """Return the status of a performed procedure step, None where it is not known."""
    query = select(procedure_steps.c.status).where(procedure_steps.c.sop_instance_uid == sop_instance_uid)
    found: str | None = connection.execute(query).scalar_one_or_none()
    return found


def step_changed(
    connection: Connection, sop_instance_uid: str, status: str | None, number: int | None
) -> None:
    """Write what N-SET says of a step, and have its study looked at."""
    given: dict[str, Any] = {"status": status, "instances": number}
    connection.execute(
        update(procedure_steps)
        .where(procedure_steps.c.sop_instance_uid == sop_instance_uid)
        .values(changed_at=now(), **{name: value for name, value in given.items() if value is not None})
    )
    query = select(procedure_steps.c.study_instance_uid).where(
        procedure_steps.c.sop_instance_uid == sop_instance_uid
    )
    _look_at(connection, connection.execute(query).scalar())


def counted(
    connection: Connection, study_instance_uid: str, source: str, number: int | None, error: str | None
) -> None:
    """Write what a study's source answered to C-FIND, and have the study looked at."""
    values = {"instances": number, "error": error, "asked_at": now()}
    keys = {"study_instance_uid": study_instance_uid, "source": source}
    upsert(connection, source_counts, keys | values, list(keys), list(values))
    if number is not None:
        _look_at(connection, study_instance_uid)


def uncounted(
    connection: Connection, sources: Sequence[str], before: float, limit: int
) -> list[tuple[str, str]]:
    """Return arriving studies that are still since ``before`` and their sources not asked since.

    Returns
    -------
    list of tuple
        Study Instance UID, and the source among ``sources`` that instances of it came from.
    """
    asked = select(source_counts.c.source).where(
        source_counts.c.study_instance_uid == studies.c.study_instance_uid,
        source_counts.c.source == instances.c.source,
        source_counts.c.asked_at >= studies.c.last_received_at,
    )
    query = (
        select(studies.c.study_instance_uid, instances.c.source)
        .join(instances, instances.c.study_instance_uid == studies.c.study_instance_uid)
        .where(
            studies.c.state == "arriving",
            studies.c.last_received_at < before,
            instances.c.source.in_(sources),
            ~asked.exists(),
        )
        .distinct()
        .limit(limit)
    )
    return [(row[0], row[1]) for row in connection.execute(query)]


def counts(connection: Connection, study_instance_uid: str) -> Sequence[int]:
    """Return how many instances a study has by each that says so.

    Steps count together, and only once all of them are over: another may add to it.
    """
    steps = procedure_steps.c
    in_progress = func.count().filter(steps.status == IN_PROGRESS)
    query = select(func.count(), func.sum(steps.instances), in_progress).where(
        steps.study_instance_uid == study_instance_uid
    )
    number, performed, open_ = connection.execute(query).one()
    answers = select(source_counts.c.instances).where(
        source_counts.c.study_instance_uid == study_instance_uid, source_counts.c.instances.is_not(None)
    )
    found = [int(answer) for answer in connection.execute(answers).scalars()]
    return [*found, int(performed)] if number and performed and not open_ else found


def _look_at(connection: Connection, study_instance_uid: str | None) -> None:
    known = select(studies.c.study_instance_uid).where(studies.c.study_instance_uid == study_instance_uid)
    if study_instance_uid and connection.execute(known).first() is not None:
        enqueue(connection, Step.ASSEMBLE, study_instance_uid, now())
