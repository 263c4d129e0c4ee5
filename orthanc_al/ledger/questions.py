"""What waits for a radiologist besides the order: reads that are asked for, and reads to decide between."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from sqlalchemy import Connection, func, select

from orthanc_al.domain import ReadValue
from orthanc_al.domain.precedence import ReadState
from orthanc_al.ledger import curtain, worklist
from orthanc_al.ledger.schema import reads, selections, studies
from orthanc_al.ledger.worklist import Entry

_MOST: Final = 200
_QUERY: Final = "query"


@dataclass(frozen=True, slots=True)
class Question:
    """A study that a read is asked of: why it was chosen, and when (seconds since 1970)."""

    entry: Entry
    reason: str
    asked_at: float


@dataclass(frozen=True, slots=True)
class Said:
    """What one person said; ``read_at`` in seconds since 1970."""

    reference: str
    value: ReadValue
    reader: str
    source: str
    comment: str
    read_at: float


@dataclass(frozen=True, slots=True)
class Dispute:
    """Reads of one finding of which none counts, until somebody decides.

    Attributes
    ----------
    state
        ``conflict``: readers of equal trust disagree; ``waiting``: nobody is named.
    """

    entry: Entry
    finding: str
    state: ReadState
    said: Sequence[Said]


def asked(connection: Connection, limit: int = _MOST) -> list[Question]:
    """Return the studies that a read is still asked of, in reading order."""
    drawn = selections.alias("drawn")  # the curtain looks into selections itself
    query = (
        select(drawn.c.study_instance_uid, drawn.c.reason, drawn.c.decided_at)
        .join(studies, studies.c.study_instance_uid == drawn.c.study_instance_uid)
        .where(
            drawn.c.kind == _QUERY,
            drawn.c.signed_at.is_(None),
            worklist.is_open(),
            curtain.lifted(),
        )
        .order_by(studies.c.read_by, studies.c.arrived_at, studies.c.study_instance_uid)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    entries = worklist.entries(connection, [row.study_instance_uid for row in rows])
    return [Question(entries[row.study_instance_uid], row.reason, row.decided_at) for row in rows]


def asked_on(connection: Connection, day: str) -> tuple[int, int]:
    """Return how many studies a read was asked of on a day of the site, and how many of them were read.

    Audits are not among them: a count that moves while a study is on the screen would tell of it.
    """
    query = select(func.count(), func.count(selections.c.signed_at)).where(
        selections.c.kind == _QUERY, selections.c.day == day
    )
    row = connection.execute(query).one()
    return int(row[0]), int(row[1])


def disputes(connection: Connection, limit: int = _MOST) -> list[Dispute]:
    """Return what is to be decided, the oldest first: conflicts, and unnamed reads that nobody settled."""
    settled = reads.alias("settled")
    answered = (
        select(settled.c.id)
        .where(
            settled.c.study_instance_uid == reads.c.study_instance_uid,
            settled.c.finding == reads.c.finding,
            settled.c.state.in_((ReadState.COUNTS.value, ReadState.CONFLICT.value)),
        )
        .exists()
    )
    query = (
        select(reads)
        .where(
            (reads.c.state == ReadState.CONFLICT.value)
            | ((reads.c.state == ReadState.WAITING.value) & ~answered)
        )
        .order_by(reads.c.study_instance_uid, reads.c.finding, reads.c.read_at)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    entries = worklist.entries(connection, [row.study_instance_uid for row in rows])
    found = [
        Dispute(
            entries[uid],
            finding,
            ReadState(same[0].state),
            [
                Said(row.reference, ReadValue(row.value), row.reader, row.source, row.comment, row.read_at)
                for row in same
            ],
        )
        for (uid, finding), group in groupby(rows, key=lambda row: (row.study_instance_uid, row.finding))
        if uid in entries and (same := list(group))
    ]
    return sorted(found, key=lambda dispute: dispute.said[0].read_at)
