"""What the monitor looks at, and what it saw.

It looks at days that are over alone, and shows figures of a whole day, never of a study. Audits whose read is
not signed yet are left out: who knows the other studies of a day could tell from its figures what they hide.
They are drawn by chance, so that what is left is as it would have been with them.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, fields

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, exists, func, select

from orthanc_al.domain import Attributes, ReadValue
from orthanc_al.ledger.curtain import AUDIT
from orthanc_al.ledger.predictions import unpack
from orthanc_al.ledger.schema import monitor_points, predictions, reads, selections, studies
from orthanc_al.ledger.upserts import upsert


@dataclass(frozen=True, slots=True)
class Scored:
    """A study as the network saw it first.

    Attributes
    ----------
    embedding
        float32, shape (d,): of the image that decided the study's first finding.
    ood
        Distance over the domain's limit.
    attributes
        What of the study makes groups.
    """

    embedding: NDArray[np.float32]
    ood: float
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class ReadBeside:
    """A read that counts, beside the newest prediction that was there when it was made.

    Attributes
    ----------
    shown
        Whether the reader could see a result of ours.
    """

    finding: str
    present: bool
    probability: float
    shown: bool


@dataclass(frozen=True, slots=True)
class Burden:
    """What a day asked of the radiologists: studies drawn, and draws that were signed."""

    audits: int
    queries: int
    signed: int


@dataclass(frozen=True, slots=True)
class Point:
    """A figure of a day.

    Attributes
    ----------
    measure
        What it is; the list is in docs/monitoring.md.
    value
        The figure, with its 95 % interval ``low`` to ``high`` where it has one.
    p_value
        How likely so great a value is by chance, where that is asked.
    cases
        How many it is made from.
    alarm
        Whether somebody should look; ``reason`` says at what, in words.
    finding
        Of the model; empty where it is about all of them.
    part
        A group of studies; empty for all.
    """

    measure: str
    value: float
    cases: int
    finding: str = ""
    part: str = ""
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    alarm: bool = False
    reason: str = field(default="")


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point and where it belongs."""

    model_name: str
    day: str
    point: Point


def first_scored_at(connection: Connection, digests: Collection[str]) -> float | None:
    """Return when one of these packages scored a study first, None where none did."""
    query = select(func.min(predictions.c.scored_at)).where(predictions.c.model_digest.in_(digests))
    found: float | None = connection.execute(query).scalar()
    return found


def scored(connection: Connection, digests: Collection[str], since: float, until: float) -> list[Scored]:
    """Return the studies that packages of one backbone scored in a span, each once; no blind audit."""
    names = [one.name for one in fields(Attributes)]
    blind = exists().where(
        selections.c.study_instance_uid == predictions.c.study_instance_uid,
        selections.c.kind == AUDIT,
        selections.c.signed_at.is_(None),
    )
    query = (
        select(
            predictions.c.study_instance_uid,
            predictions.c.embedding,
            predictions.c.ood,
            *(studies.c[name] for name in names),
        )
        .join(studies, studies.c.study_instance_uid == predictions.c.study_instance_uid)
        .where(
            predictions.c.model_digest.in_(digests),
            predictions.c.scored_at >= since,
            predictions.c.scored_at < until,
            ~blind,
        )
        .order_by(predictions.c.id)
    )
    first: dict[str, Scored] = {}
    for row in connection.execute(query).mappings():
        attributes = Attributes(**{name: row[name] for name in names})
        first.setdefault(row["study_instance_uid"], Scored(unpack(row["embedding"]), row["ood"], attributes))
    return list(first.values())


def reads_beside(
    connection: Connection, digests: Collection[str], since: float, until: float
) -> list[ReadBeside]:
    """Return the reads of a span that count, blind ones and those with a result in view."""
    query = (
        select(reads.c.id, reads.c.finding, reads.c.value, reads.c.ai_shown, predictions.c.probability)
        .join(
            predictions,
            and_(
                predictions.c.study_instance_uid == reads.c.study_instance_uid,
                predictions.c.finding == reads.c.finding,
                predictions.c.scored_at <= reads.c.read_at,
            ),
        )
        .where(
            reads.c.state == "counts",
            reads.c.value.in_((ReadValue.PRESENT.value, ReadValue.ABSENT.value)),
            reads.c.read_at >= since,
            reads.c.read_at < until,
            predictions.c.model_digest.in_(digests),
        )
        .order_by(predictions.c.scored_at)
    )
    newest = {row.id: row for row in connection.execute(query)}
    return [
        ReadBeside(row.finding, row.value == ReadValue.PRESENT.value, row.probability, row.ai_shown)
        for _, row in sorted(newest.items())
    ]


def burden(connection: Connection, day: str, since: float, until: float) -> Burden:
    """Return what a day of the site asked; ``since`` and ``until`` are its ends in seconds since 1970."""
    by_kind = (
        select(selections.c.kind, func.count()).where(selections.c.day == day).group_by(selections.c.kind)
    )
    drawn = {row[0]: int(row[1]) for row in connection.execute(by_kind)}
    signed = select(func.count()).where(selections.c.signed_at >= since, selections.c.signed_at < until)
    return Burden(drawn.get("audit", 0), drawn.get("query", 0), int(connection.execute(signed).scalar_one()))


def put(connection: Connection, model_name: str, day: str, points: Sequence[Point], at: float) -> None:
    """Write the points of a day; those that are there are overwritten."""
    keys = ["model_name", "day", "measure", "finding", "part"]
    for point in points:
        values = {**asdict(point), "model_name": model_name, "day": day, "at": at}
        upsert(connection, monitor_points, values, keys, [name for name in values if name not in keys])


def last_day(connection: Connection, model_name: str) -> str | None:
    """Return the newest day that was looked at, None where none was."""
    query = select(func.max(monitor_points.c.day)).where(monitor_points.c.model_name == model_name)
    found: str | None = connection.execute(query).scalar()
    return found


def series(connection: Connection, since_day: str = "") -> list[StoredPoint]:
    """Return all points from a day on, in the order of model, finding, measure, part and day."""
    names = ("model_name", "finding", "measure", "part", "day")
    query = (
        select(monitor_points)
        .where(monitor_points.c.day >= since_day)
        .order_by(*(monitor_points.c[name] for name in names))
    )
    return [
        StoredPoint(
            row["model_name"],
            row["day"],
            Point(**{key: value for key, value in row.items() if key not in {"model_name", "day", "at"}}),
        )
        for row in connection.execute(query).mappings()
    ]


def latest(connection: Connection) -> list[StoredPoint]:
    """Return the points of each model's newest day."""
    newest = (
        select(monitor_points.c.model_name, func.max(monitor_points.c.day).label("day"))
        .group_by(monitor_points.c.model_name)
        .subquery()
    )
    days = {row.model_name: row.day for row in connection.execute(select(newest))}
    if not days:
        return []
    return [one for one in series(connection, min(days.values())) if one.day == days[one.model_name]]
