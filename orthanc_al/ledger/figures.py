"""Counts for metrics and readiness, read from the ledger at the moment of asking.

Nothing here names a patient or a study, and nothing lets a blind case be told from its neighbours:
states are those that the worklist shows, there are no counts by tier, and selections are counted once
their day is over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, func, select

from orthanc_al.ledger import curtain
from orthanc_al.ledger.schema import (
    deliveries,
    instances,
    jobs,
    models,
    predictions,
    promotions,
    selections,
    studies,
)
from orthanc_al.pipeline import SCORING_STEPS


@dataclass(frozen=True, slots=True)
class DeliveryFigure:
    """Deliveries of one state to one destination.

    Attributes
    ----------
    oldest_received_at
        When the instance that is oldest among them was received, seconds since 1970.
    """

    destination: str
    state: str
    count: int
    oldest_received_at: float


@dataclass(frozen=True, slots=True)
class Champion:
    """The version of a model that is live."""

    name: str
    version: str
    digest: str


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


def deliveries_by_destination(connection: Connection) -> Sequence[DeliveryFigure]:
    """Return the deliveries by destination and state."""
    place, state = deliveries.c.destination, deliveries.c.state
    query = (
        select(place, state, func.count(), func.min(instances.c.received_at))
        .join(instances, instances.c.id == deliveries.c.instance_id)
        .group_by(place, state)
        .order_by(place, state)
    )
    return [DeliveryFigure(*row) for row in connection.execute(query)]


def oldest_due(connection: Connection, now: float, *, paused: bool) -> float | None:
    """Return since when the job that is longest overdue has waited, None where none is due.

    While scoring is paused its steps are not overdue.
    """
    due = and_(jobs.c.state == "ready", jobs.c.run_at <= now)
    if paused:
        due = and_(due, jobs.c.step.not_in([step.value for step in SCORING_STEPS]))
    found = connection.execute(select(func.min(jobs.c.run_at)).where(due)).scalar_one_or_none()
    return None if found is None else float(found)


def champions(connection: Connection) -> Sequence[Champion]:
    """Return the live version of each model."""
    last = select(func.max(promotions.c.id)).group_by(promotions.c.model_name)
    query = (
        select(promotions.c.model_name, models.c.version, models.c.digest)
        .join(models, models.c.digest == promotions.c.digest)
        .where(promotions.c.id.in_(last))
        .order_by(promotions.c.model_name)
    )
    return [Champion(*row) for row in connection.execute(query)]


def _counted(connection: Connection, by: ColumnElement[str]) -> Mapping[str, int]:
    rows = connection.execute(select(by, func.count()).group_by(by))
    return {row[0]: row[1] for row in rows}
