"""What a reader says of a study by page or API: confirm or reject, done without a word, and back on the list.

A statement becomes a read of the highest trust at once, in the transaction that the click is answered
from; the step ``sign`` makes a verified report of it. Its reference is that report's SOP Instance UID,
which derives from what was said: the same click twice is one read and one report.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, select

from orthanc_al.domain import ConfirmedRead, ReadSource, ReadValue, Study, derived_uid
from orthanc_al.domain.precedence import ReadState
from orthanc_al.errors import ReadError, StudyChangedError
from orthanc_al.ledger import reads, studies, trail
from orthanc_al.ledger.schema import reads as table
from orthanc_al.ledger.schema import studies as study_table
from orthanc_al.ledger.waiting import enqueue
from orthanc_al.pipeline import Step

_A_MOMENT: Final = 0.001  # seconds: a reader's second word comes after her first, whatever the clock says
LONGEST_COMMENT: Final = 1000


@dataclass(frozen=True, slots=True)
class Statement:
    """What a reader says about one finding.

    Attributes
    ----------
    revision
        Of the study, that she had before her.
    reader
        Value representation PN.
    identified_by
        How her name is known: ``user``, ``asked`` or ``program``.
    settles
        References of reads that she decides between, or that had no reader.
    """

    study_instance_uid: str
    finding: str
    value: ReadValue
    revision: int
    reader: str
    identified_by: str
    comment: str = ""
    settles: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a statement.

    Attributes
    ----------
    reference
        SOP Instance UID of the report that the step ``sign`` makes.
    state
        Whether it counts: two readers who disagree are both kept, and neither counts.
    new
        False where the same reader had said the same before.
    unblinded
        Whether this read ended the blind of an audit case.
    """

    reference: str
    state: ReadState
    new: bool
    unblinded: bool


def confirm(connection: Connection, said: Statement, at: float) -> Taken:
    """Take in a statement: the read counts, the study leaves the worklist, and its report is on its way.

    Parameters
    ----------
    at
        Seconds since 1970.

    Raises
    ------
    ReadError
        There is no such study, or its images are not one person's.
    StudyChangedError
        Images came that the reader has not seen.
    """
    uid = said.study_instance_uid
    _checked(connection, uid, said.revision)
    before = _last_word(connection, said)
    if before is not None and _is_the_same(before, said):
        reads.sign(connection, uid, at)  # of a study that was put back on the list meanwhile
        return Taken(before["reference"], ReadState(before["state"]), new=False, unblinded=False)
    settles = _of_the_finding(connection, said)
    replaced = [] if before is None else [before["reference"]]
    parts = (str(said.revision), said.reader, said.finding, said.value.value, said.comment, *replaced)
    reference = derived_uid(uid, "read", *parts)
    recorded = reads.record(
        connection,
        ConfirmedRead(
            study_instance_uid=uid,
            finding=said.finding,
            value=said.value,
            source=ReadSource.VERIFIED_SR,
            reader=said.reader,
            read_at=at if before is None else max(at, before["read_at"] + _A_MOMENT),
            reference=reference,
        ),
        received_at=at,
        actor=said.reader,
        supersedes=[*replaced, *settles],
        given_here=reads.GivenHere(said.revision, said.comment, said.identified_by),
    )
    enqueue(connection, Step.SIGN, reference, at)
    _let_others_know(connection, uid, at, unblinded=recorded.unblinded)
    return Taken(reference, recorded.state, recorded.new, recorded.unblinded)


def done(connection: Connection, study_instance_uid: str, revision: int, actor: str, at: float) -> bool:
    """Take a study off the worklist without a word on any finding; False where it was off already.

    Raises
    ------
    ReadError, StudyChangedError
        As `confirm`.
    """
    study = _checked(connection, study_instance_uid, revision)
    if not study.state.on_worklist:
        return False
    unblinded = reads.finish(connection, study_instance_uid, at, actor)
    _let_others_know(connection, study_instance_uid, at, unblinded=unblinded)
    return True


def reopen(connection: Connection, study_instance_uid: str, actor: str, at: float) -> bool:
    """Put a study back on the worklist, in the place that it had; False where it is there.

    What was said of it stays said, and what ended a blind stays ended.

    Raises
    ------
    ReadError
        There is no such study.
    """
    _known(connection, study_instance_uid)
    if not studies.reopen(connection, study_instance_uid):
        return False
    trail.record(connection, actor, "study_reopened", study_instance_uid)
    enqueue(connection, Step.MIRROR, study_instance_uid, at)
    return True


def of_reference(connection: Connection, reference: str) -> list[Mapping[str, Any]]:
    """Return the rows of a read, one a finding; empty where there is none."""
    query = select(table).where(table.c.reference == reference).order_by(table.c.finding)
    return [dict(row) for row in connection.execute(query).mappings()]


def _known(connection: Connection, uid: str) -> Study:
    """Return a study as it is, and keep others from changing it until the transaction ends."""
    lock = select(study_table.c.revision).where(study_table.c.study_instance_uid == uid).with_for_update()
    connection.execute(lock)
    study = studies.get(connection, uid)
    if study is None:
        raise ReadError(f"The ledger has no study {uid}.")
    return study


def _checked(connection: Connection, uid: str, revision: int) -> Study:
    study = _known(connection, uid)
    if study.reason == studies.TWO_PATIENTS:
        raise ReadError(f"Study {uid} holds images of two patients: a read of it can't be told whose it is.")
    if study.revision != revision:
        raise StudyChangedError(
            f"New images of study {uid} came since it was opened: look at it again, then confirm. "
            "Nothing was written."
        )
    return study


def _last_word(connection: Connection, said: Statement) -> RowMapping | None:
    """Return what this reader said last of this finding by page or API."""
    query = (
        select(table)
        .where(
            table.c.study_instance_uid == said.study_instance_uid,
            table.c.finding == said.finding,
            table.c.reader == said.reader,
            table.c.identified_by != "",
        )
        .order_by(table.c.read_at.desc(), table.c.id.desc())
        .limit(1)
    )
    return connection.execute(query).mappings().first()


def _of_the_finding(connection: Connection, said: Statement) -> list[str]:
    """Return those of the references to be settled that are reads of this finding of this study."""
    query = select(table.c.reference).where(
        table.c.study_instance_uid == said.study_instance_uid,
        table.c.finding == said.finding,
        table.c.reference.in_(list(said.settles)),
    )
    return sorted(connection.execute(query).scalars())


def _is_the_same(before: RowMapping, said: Statement) -> bool:
    same = (before["value"], before["revision"], before["comment"])
    return same == (said.value.value, said.revision, said.comment) and set(said.settles) <= set(
        before["supersedes"]
    )


def _let_others_know(connection: Connection, uid: str, at: float, *, unblinded: bool) -> None:
    # What ends a blind goes out, and what was shown comes off: as after a report that came in.
    enqueue(connection, Step.REPORT if unblinded else Step.MIRROR, uid, at)
