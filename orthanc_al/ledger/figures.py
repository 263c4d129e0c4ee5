"""Counts for metrics and readiness, read from the ledger at the moment of asking.

Nothing here names a patient or a study, and nothing lets a blind case be told from its neighbours:
states are those that the worklist shows, there are no counts by tier, and selections are counted once
their day is over.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from orthanc_al.ledger import curtain
from orthanc_al.ledger.schema import change_records as records
from orthanc_al.ledger.schema import instances, jobs, predictions, selections, studies
from orthanc_al.pipeline import SCORING_STEPS


def instances_received(connection: Connection) -> Mapping[str, int]:
    """Return the number of instances by origin (dicom, orthanc, own)."""
    return _counted(connection, instances.c.origin)


def instances_unusable(connection: Connection) -> int:
    """Return the number of instances that are forwarded, but can't be read."""
    query = select(func.count()).where(instances.c.kind == "unusable")
    return int(connection.execute(query).scalar_one())


def studies_by_state(connection: Connection) -> Mapping[str, int]:
    """Return the number of studies by state, as the worklist shows it."""
    return _counted(connection, curtain.shown_state())


def studies_scored(connection: Connection) -> Mapping[tuple[str, str], int]:
    """Return the number of studies with a result that is shown, by model name and version."""
    query = (
        select(
            predictions.c.model_name,
            predictions.c.model_version,
            func.count(predictions.c.study_instance_uid.distinct()),
        )
        .join(studies, studies.c.study_instance_uid == predictions.c.study_instance_uid)
        .where(curtain.shown_prediction())
        .group_by(predictions.c.model_name, predictions.c.model_version)
    )
    return {(name, version): count for name, version, count in connection.execute(query)}


def selections_by_day(connection: Connection, today: str, days: int = 7) -> Mapping[tuple[str, str], int]:
    """Return how many studies were drawn, by kind and day, on the last ``days`` days that are over.

    Parameters
    ----------
    today
        The site's date (YYYY-MM-DD). A count that moves while a study is on the screen would tell of it.
    """
    kind, day = selections.c.kind, selections.c.day
    recent = select(day).where(day < today).distinct().order_by(day.desc()).limit(days)
    query = select(kind, day, func.count()).where(day.in_(recent)).group_by(kind, day)
    return {(row[0], row[1]): row[2] for row in connection.execute(query)}


def oldest_due(connection: Connection, now: float, *, paused: bool) -> float | None:
    """Return since when the job that is longest overdue has waited, None where none is due.

    While scoring is paused its steps are not overdue.
    """
    due = and_(jobs.c.state == "ready", jobs.c.run_at <= now)
    if paused:
        due = and_(due, jobs.c.step.not_in([step.value for step in SCORING_STEPS]))
    found = connection.execute(select(func.min(jobs.c.run_at)).where(due)).scalar_one_or_none()
    return None if found is None else float(found)


def change_records(connection: Connection, limit: int = 50) -> Sequence[Mapping[str, Any]]:
    """Return what the learner decided and on what evidence, newest first."""
    query = select(records).order_by(records.c.id.desc()).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]


def _counted(connection: Connection, by: ColumnElement[str]) -> Mapping[str, int]:
    rows = connection.execute(select(by, func.count()).group_by(by))
    return {row[0]: row[1] for row in rows}
