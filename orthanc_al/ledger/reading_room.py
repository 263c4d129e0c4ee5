"""What the ledger knows of the reading room: when studies come, when reads are signed, what audits showed."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from orthanc_al.domain import ReadValue, Tier
from orthanc_al.ledger.schema import predictions, reads, selections, studies
from orthanc_al.ledger.selections import AUDIT


@dataclass(frozen=True, slots=True)
class Signed:
    """A study that a reader signed; times in seconds since 1970."""

    reader: str
    at: float
    arrived_at: float


@dataclass(frozen=True, slots=True)
class PlacedAudit:
    """A finding of an audited study: where triage put it, and what the blind read said.

    Attributes
    ----------
    target_minutes
        From arrival to the read-by time that triage gave it, which nobody saw.
    propensity
        pi of the draw.
    """

    study_instance_uid: str
    finding: str
    present: bool
    tier: Tier
    target_minutes: float
    propensity: float


def arrivals(connection: Connection, since: float) -> list[float]:
    """Return when studies arrived since a time, in order."""
    query = select(studies.c.arrived_at).where(studies.c.arrived_at >= since).order_by(studies.c.arrived_at)
    return [float(one) for one in connection.execute(query).scalars()]


def signed(connection: Connection, since: float) -> list[Signed]:
    """Return who signed which study since a time, in order; reads that name nobody are left out."""
    at = func.max(reads.c.read_at).label("at")
    query = (
        select(reads.c.reader, at, func.min(studies.c.arrived_at).label("arrived_at"))
        .join(studies, studies.c.study_instance_uid == reads.c.study_instance_uid)
        .where(reads.c.read_at >= since, reads.c.reader != "", reads.c.state != "waiting")
        .group_by(reads.c.reader, reads.c.study_instance_uid)
        .order_by(at)
    )
    return [Signed(row.reader, row.at, row.arrived_at) for row in connection.execute(query)]


def placed_audits(connection: Connection, since: float) -> list[PlacedAudit]:
    """Return what audits since a time showed, by study and finding; of several placements the newest."""
    query = (
        select(
            predictions.c.study_instance_uid,
            predictions.c.finding,
            predictions.c.tier,
            predictions.c.read_by,
            reads.c.value,
            selections.c.propensity,
            studies.c.arrived_at,
        )
        .join(selections, selections.c.study_instance_uid == predictions.c.study_instance_uid)
        .join(studies, studies.c.study_instance_uid == predictions.c.study_instance_uid)
        .join(
            reads,
            (reads.c.study_instance_uid == predictions.c.study_instance_uid)
            & (reads.c.finding == predictions.c.finding),
        )
        .where(
            selections.c.kind == AUDIT,
            selections.c.decided_at >= since,
            predictions.c.tier.is_not(None),
            reads.c.state == "counts",
            reads.c.ai_shown.is_(False),
            reads.c.value.in_((ReadValue.PRESENT.value, ReadValue.ABSENT.value)),
        )
        .order_by(predictions.c.id)
    )
    newest = {
        (row.study_instance_uid, row.finding): PlacedAudit(
            row.study_instance_uid,
            row.finding,
            row.value == ReadValue.PRESENT.value,
            Tier(row.tier),
            max(0.0, row.read_by - row.arrived_at / 60.0),
            row.propensity,
        )
        for row in connection.execute(query)
    }
    return [newest[key] for key in sorted(newest)]
