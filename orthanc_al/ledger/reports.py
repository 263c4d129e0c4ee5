"""The objects that we made: which there are, by their derived UID, and what a study's next one replaces."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

from sqlalchemy import Connection, bindparam, func, select, update

from orthanc_al.ledger.curtain import lifted
from orthanc_al.ledger.schema import models, reads, reports, studies
from orthanc_al.ledger.upserts import upsert

Kind = Literal["sr", "kos", "read", "picture"]

# Asked for with each study: to make a statement costs more than to run it.
_LAST_SR: Final = (
    select(reports)
    .join(models, models.c.digest == reports.c.model_digest)
    .where(
        reports.c.study_instance_uid == bindparam("uid"),
        reports.c.kind == "sr",
        models.c.name == bindparam("model"),
    )
    .order_by(reports.c.created_at.desc(), reports.c.revision.desc())
    .limit(1)
)
_MAY_LEAVE: Final = select(studies.c.study_instance_uid).where(
    studies.c.study_instance_uid == bindparam("uid"), lifted()
)
_UIDS: Final = select(reports.c.sop_instance_uid).where(reports.c.study_instance_uid == bindparam("uid"))


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


def add_all(connection: Connection, made: Sequence[OwnReport]) -> None:
    """Write that objects were made; the same one again changes nothing."""
    if made:
        upsert(connection, reports, [asdict(one) for one in made], ["sop_instance_uid"])


def last_sr(connection: Connection, study_instance_uid: str, model_name: str) -> OwnReport | None:
    """Return the newest SR about a study by any version of a model, None where there is none."""
    row = connection.execute(_LAST_SR, {"uid": study_instance_uid, "model": model_name}).mappings().first()
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
    return connection.execute(_MAY_LEAVE, {"uid": study_instance_uid}).first() is not None


def uids_of(connection: Connection, study_instance_uid: str) -> set[str]:
    """Return the SOP Instance UIDs of our objects about a study."""
    return set(connection.execute(_UIDS, {"uid": study_instance_uid}).scalars())


def note_orthanc_id(connection: Connection, study_instance_uid: str, orthanc_id: str) -> None:
    """Write what Orthanc calls a study, for links to it."""
    connection.execute(
        update(studies)
        .where(studies.c.study_instance_uid == study_instance_uid)
        .values(orthanc_id=orthanc_id)
    )
