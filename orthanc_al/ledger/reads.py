"""What persons said of studies, and which of it counts.

`record` is the one way in for all sources: reports that come back, labels, imports, the worklist page.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import Connection, RowMapping, select, update

from orthanc_al.domain import ConfirmedRead, ReadSource, ReadValue, StudyState
from orthanc_al.domain.precedence import Claim, ReadState, settle
from orthanc_al.ledger import selections, studies, trail
from orthanc_al.ledger.curtain import lifted
from orthanc_al.ledger.schema import audit_trail, reads
from orthanc_al.ledger.schema import studies as study_table
from orthanc_al.ledger.upserts import upsert

_FINISHED: Final = "study_finished"
_TAKEN_BACK: Final = "study_finish_taken_back"


@dataclass(frozen=True, slots=True)
class RecordedRead:
    """What came of recording a read.

    Attributes
    ----------
    state
        Whether it counts.
    new
        False where it was recorded before: nothing was changed.
    unblinded
        Whether it was the read that an audit case was kept blind for: its results may leave now.
    """

    state: ReadState
    new: bool
    unblinded: bool


@dataclass(frozen=True, slots=True)
class GivenHere:
    """What is known of a read that was given by page or API.

    Attributes
    ----------
    revision
        Of the study, that the reader had before her.
    comment
        Her own words.
    identified_by
        ``user`` (her own password), ``asked`` (she said her name), ``program`` (a program said it).
    """

    revision: int
    comment: str
    identified_by: str


def record(
    connection: Connection,
    read: ConfirmedRead,
    *,
    received_at: float,
    actor: str,
    waits: bool = False,
    supersedes: Collection[str] = (),
    given_here: GivenHere | None = None,
) -> RecordedRead:
    """Take in a read: its row, which reads count now, the end of a blind, the study off the worklist.

    All in the caller's transaction; the same read again (reference and finding) changes nothing.

    Parameters
    ----------
    received_at
        Seconds since 1970.
    actor
        Who brought it, for the audit trail: the name of a person or of a source.
    waits
        It has no reader and the site does not trust that: kept, but it neither counts nor signs.
    supersedes
        References of the reads that it says it replaces.
    given_here
        What is known besides of a read that came by page or API.
    """
    uid = read.study_instance_uid
    values = {
        "study_instance_uid": uid,
        "finding": read.finding,
        "value": read.value.value,
        "source": read.source.name.lower(),
        "rank": int(read.source),
        "reader": read.reader,
        "read_at": read.read_at,
        "received_at": received_at,
        "reference": read.reference,
        "ai_shown": _ai_shown(connection, uid, read.read_at),
        "state": ReadState.WAITING.value if waits else ReadState.SUPERSEDED.value,
        "supersedes": sorted(supersedes),
        **({} if given_here is None else asdict(given_here)),
    }
    new = upsert(connection, reads, values, ["reference", "finding"]) == 1
    states = _settle(connection, uid, read.finding)
    state = states[read.reference]
    if not new:
        return RecordedRead(state, new=False, unblinded=False)
    trail.record(
        connection,
        actor,
        "read_recorded",
        uid,
        finding=read.finding,
        source=values["source"],
        state=state.value,
    )
    return RecordedRead(state, new=True, unblinded=not waits and sign(connection, uid, received_at))


def study_of(connection: Connection, reference: str) -> str | None:
    """Return the study that the read of a reference is about, None where there is no such read."""
    query = select(reads.c.study_instance_uid).where(reads.c.reference == reference).limit(1)
    found: str | None = connection.execute(query).scalar()
    return found


def finish(connection: Connection, study_instance_uid: str, at: float, actor: str) -> bool:
    """Note that a study is done with, without a word on any finding; return whether that ended a blind."""
    trail.record(connection, actor, _FINISHED, study_instance_uid)
    return sign(connection, study_instance_uid, at)


def finished_by(connection: Connection, study_instance_uid: str, actor: str) -> bool:
    """Whether an actor has finished a study before, and has not taken that back."""
    query = (
        select(audit_trail.c.action)
        .where(
            audit_trail.c.subject == study_instance_uid,
            audit_trail.c.actor == actor,
            audit_trail.c.action.in_([_FINISHED, _TAKEN_BACK]),
        )
        .order_by(audit_trail.c.id.desc())
        .limit(1)
    )
    return connection.execute(query).scalar() == _FINISHED


def finished_and_open(connection: Connection, actor: str) -> list[str]:
    """Return the studies that an actor had finished and that are on the worklist again."""
    query = (
        select(study_table.c.study_instance_uid)
        .join(audit_trail, audit_trail.c.subject == study_table.c.study_instance_uid)
        .where(
            study_table.c.state.not_in([StudyState.READ.value, StudyState.EXPIRED.value]),
            audit_trail.c.actor == actor,
            audit_trail.c.action == _FINISHED,
        )
        .distinct()
    )
    return [uid for uid in connection.scalars(query) if finished_by(connection, uid, actor)]


def take_back_finish(connection: Connection, study_instance_uid: str, actor: str) -> None:
    """Note that an actor does not say any more that a study is done with: saying it again is news."""
    trail.record(connection, actor, _TAKEN_BACK, study_instance_uid)


def sign(connection: Connection, study_instance_uid: str, at: float) -> bool:
    """Take a study off the worklist; return whether that ended the blind of an audit case."""
    studies.close(connection, study_instance_uid, StudyState.READ, at)
    return selections.sign(connection, study_instance_uid, at)


def _settle(connection: Connection, uid: str, finding: str) -> dict[str, ReadState]:
    """Decide anew which reads of a finding count, and write it."""
    query = select(reads).where(reads.c.study_instance_uid == uid, reads.c.finding == finding)
    rows = connection.execute(query).mappings().all()
    states = settle([_claim(row) for row in rows])
    for row in rows:
        if row["state"] != states[row["reference"]].value:
            connection.execute(
                update(reads).where(reads.c.id == row["id"]).values(state=states[row["reference"]].value)
            )
    return states


def _ai_shown(connection: Connection, uid: str, read_at: float) -> bool:
    """Whether a result could be seen at ``read_at``: on the page, in the PACS or in Orthanc.

    A blind case is shown right after its first read was signed: what else that read says was blind too.
    """
    placed = select(study_table.c.placed_at).where(study_table.c.study_instance_uid == uid, lifted())
    since: float | None = connection.execute(placed).scalar()
    audit = selections.of_study(connection, uid).get(selections.AUDIT)
    if since is None:
        return False
    if audit is not None and audit.signed_at is not None and read_at <= audit.signed_at:
        return False
    return read_at >= since


def _claim(row: RowMapping) -> Claim:
    return Claim(
        _read(row), waits=row["state"] == ReadState.WAITING.value, supersedes=frozenset(row["supersedes"])
    )


def _read(row: RowMapping) -> ConfirmedRead:
    return ConfirmedRead(
        study_instance_uid=row["study_instance_uid"],
        finding=row["finding"],
        value=ReadValue(row["value"]),
        source=ReadSource(row["rank"]),
        reader=row["reader"],
        read_at=row["read_at"],
        reference=row["reference"],
    )
