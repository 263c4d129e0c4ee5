"""How far Orthanc's changes were followed, and what became of each instance that they told of."""

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Final, Literal

from sqlalchemy import Connection, select

from orthanc_al.ledger import facts
from orthanc_al.ledger.schema import instances, orthanc_instances
from orthanc_al.ledger.upserts import upsert
from orthanc_al.observe import now

State = Literal["taken", "ours", "before", "failed"]

_SINCE: Final = "orthanc_watched_since"
_HINT: Final = "orthanc_hint_at"
_AT_ONCE: Final = 500  # ids in one statement: SQLite takes 999 parameters at least


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last change that was dealt with.

    Attributes
    ----------
    seq
        Its number; 0 before the first.
    anchor
        What the change said (resource, kind and date), by which it is known again: another database has
        another change under this number. None where the log had no such change any more.
    """

    seq: int
    anchor: str | None = None


def cursor(connection: Connection) -> Cursor | None:
    """Return how far the changes were followed, None before the first time."""
    found = facts.get(connection, facts.CURSOR)
    return None if found is None else Cursor(**json.loads(found))


def move_cursor(connection: Connection, to: Cursor) -> None:
    """Write that everything up to a change was dealt with."""
    facts.put(connection, facts.CURSOR, json.dumps(asdict(to)))


def watched_since(connection: Connection, otherwise: float) -> float:
    """Return from when on (seconds since 1970) what Orthanc received is ours to take; set once."""
    found = facts.get(connection, _SINCE)
    if found is None:
        facts.put(connection, _SINCE, repr(otherwise))
        return otherwise
    return float(found)


def give_hint(connection: Connection) -> None:
    """Note that Orthanc has something new: who follows its changes then looks at once."""
    facts.put(connection, _HINT, repr(now()))


def hint(connection: Connection) -> str:
    """Return the mark of the latest hint."""
    return facts.get(connection, _HINT) or ""


def known(connection: Connection, orthanc_ids: Iterable[str]) -> set[str]:
    """Return which of Orthanc's instances need no further look; those that failed do."""
    wanted = list(orthanc_ids)
    found: set[str] = set()
    for start in range(0, len(wanted), _AT_ONCE):
        query = select(orthanc_instances.c.orthanc_id).where(
            orthanc_instances.c.orthanc_id.in_(wanted[start : start + _AT_ONCE]),
            orthanc_instances.c.state != "failed",
        )
        found |= set(connection.scalars(query))
    return found


def is_dealt_with(connection: Connection, orthanc_id: str, seq: int) -> bool:
    """Whether a change tells nothing new: its instance was dealt with at this change or a later one.

    One that was deleted there and came again has a later change.
    """
    query = select(orthanc_instances.c.seq).where(
        orthanc_instances.c.orthanc_id == orthanc_id, orthanc_instances.c.state != "failed"
    )
    dealt_with_at: int | None = connection.execute(query).scalar()
    return dealt_with_at is not None and seq <= dealt_with_at


def note(
    connection: Connection,
    orthanc_ids: Collection[str],
    state: State,
    seq: int,
    *,
    instance_id: str | None = None,
    reason: str | None = None,
) -> None:
    """Write what became of instances of Orthanc."""
    rows = [
        {
            "orthanc_id": one,
            "state": state,
            "seq": seq,
            "instance_id": instance_id,
            "reason": reason,
            "seen_at": now(),
        }
        for one in orthanc_ids
    ]
    if rows:
        columns = ["state", "seq", "instance_id", "reason", "seen_at"]
        upsert(connection, orthanc_instances, rows, ["orthanc_id"], columns)


def failed(connection: Connection) -> list[tuple[str, str]]:
    """Return the instances that could not be had, each with the reason."""
    query = select(orthanc_instances.c.orthanc_id, orthanc_instances.c.reason).where(
        orthanc_instances.c.state == "failed"
    )
    return [(row.orthanc_id, row.reason or "") for row in connection.execute(query)]


def has_instance(connection: Connection, sop_instance_uid: str) -> bool:
    """Whether an instance was received or made by us."""
    query = select(instances.c.id).where(instances.c.sop_instance_uid == sop_instance_uid).limit(1)
    return connection.execute(query).first() is not None
