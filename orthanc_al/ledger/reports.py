"""The objects that we made: which there are, by their derived UID, and what a study's next one replaces."""

from dataclasses import asdict, dataclass
from typing import Literal

from sqlalchemy import Connection, func, select, update

from orthanc_al.ledger.curtain import lifted
from orthanc_al.ledger.engine import upsert
from orthanc_al.ledger.schema import models, reads, reports, studies

Kind = Literal["sr", "kos", "read", "picture"]


@dataclass(frozen=True, slots=True)
class OwnReport:
    """One of our objects.

    Attributes
    ----------
    revision
        Of the study, that it is about.
    predecessor
        SOP Instance UID of the one that it replaces.
    instance_id
        Its file in the spool.
    created_at
        Seconds since 1970, UTC.
    """

    sop_instance_uid: str
    kind: Kind
    study_instance_uid: str
    revision: int
    model_digest: str
    predecessor: str | None
    instance_id: str
    created_at: float


def add(connection: Connection, report: OwnReport) -> bool:
    """Write that an object was made; the same one again changes nothing, and False is returned."""
    return upsert(connection, reports, asdict(report), ["sop_instance_uid"]) == 1


def last_sr(connection: Connection, study_instance_uid: str, model_name: str) -> OwnReport | None:
    """Return the newest SR about a study by any version of a model, None where there is none."""
    query = (
        select(reports)
        .join(models, models.c.digest == reports.c.model_digest)
        .where(
            reports.c.study_instance_uid == study_instance_uid,
            reports.c.kind == "sr",
            models.c.name == model_name,
        )
        .order_by(reports.c.created_at.desc(), reports.c.revision.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else OwnReport(**row)


def last_sr_at(connection: Connection, study_instance_uid: str) -> float | None:
    """Return when our newest SR about a study was made (seconds since 1970), None where there is none."""
    query = select(func.max(reports.c.created_at)).where(
        reports.c.study_instance_uid == study_instance_uid, reports.c.kind == "sr"
    )
    found: float | None = connection.execute(query).scalar()
    return found


def results_before(connection: Connection, study_instance_uid: str, at: float) -> list[str]:
    """Return the SOP Instance UID of the newest SR of each model that was made up to ``at``, oldest first."""
    query = (
        select(reports.c.sop_instance_uid, models.c.name)
        .join(models, models.c.digest == reports.c.model_digest)
        .where(
            reports.c.study_instance_uid == study_instance_uid,
            reports.c.kind == "sr",
            reports.c.created_at <= at,
        )
        .order_by(reports.c.created_at, reports.c.revision)
    )
    newest = {row.name: row.sop_instance_uid for row in connection.execute(query)}
    return list(newest.values())


def is_read(connection: Connection, reference: str, study_instance_uid: str) -> bool:
    """Whether a reference is that of a read that was given here, of this study."""
    query = select(reads.c.id).where(
        reads.c.reference == reference,
        reads.c.study_instance_uid == study_instance_uid,
        reads.c.identified_by != "",
    )
    return connection.execute(query).first() is not None


def may_leave(connection: Connection, study_instance_uid: str) -> bool:
    """Whether results about a study may be told to anybody (the curtain, promise 6)."""
    query = select(studies.c.study_instance_uid).where(
        studies.c.study_instance_uid == study_instance_uid, lifted()
    )
    return connection.execute(query).first() is not None


def uids_of(connection: Connection, study_instance_uid: str) -> set[str]:
    """Return the SOP Instance UIDs of our objects about a study."""
    query = select(reports.c.sop_instance_uid).where(reports.c.study_instance_uid == study_instance_uid)
    return set(connection.execute(query).scalars())


def note_orthanc_id(connection: Connection, study_instance_uid: str, orthanc_id: str) -> None:
    """Write what Orthanc calls a study, for links to it."""
    connection.execute(
        update(studies)
        .where(studies.c.study_instance_uid == study_instance_uid)
        .values(orthanc_id=orthanc_id)
    )
