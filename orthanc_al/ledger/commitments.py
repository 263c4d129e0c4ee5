"""Storage commitment transactions (PS3.4 annex J): those that we ask for, and those that peers ask of us."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, insert, select, update

from orthanc_al.ledger.deliveries import DeliveryState
from orthanc_al.ledger.engine import RINGS
from orthanc_al.ledger.schema import commitment_items, commitments, deliveries, instances
from orthanc_al.ledger.upserts import upsert
from orthanc_al.observe import now

ASKED, OPEN, DONE = "asked", "open", "done"
_RESEND_SECONDS: Final = 60.0
_MOST_RESENDS: Final = 5

Named = tuple[str, str]  # SOP class UID and SOP Instance UID


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction that is not done.

    Attributes
    ----------
    peer
        Who asked, or is asked, by name.
    attempts
        How often its end was tried to be told.
    made_at
        Seconds since 1970.
    """

    transaction_uid: str
    peer: str
    attempts: int
    made_at: float
    objects: Sequence[Named]


def uncommitted(
    connection: Connection, destination: str, before: float, limit: int
) -> list[tuple[int, Named]]:
    """Return deliveries that arrived before a time and that nobody has been asked about, by id."""
    asked = (
        select(commitment_items.c.delivery_id)
        .join(commitments, commitments.c.transaction_uid == commitment_items.c.transaction_uid)
        .where(commitment_items.c.delivery_id == deliveries.c.id, commitments.c.state == ASKED)
    )
    query = (
        select(deliveries.c.id, instances.c.sop_class_uid, instances.c.sop_instance_uid)
        .join(instances, instances.c.id == deliveries.c.instance_id)
        .where(
            deliveries.c.destination == destination,
            deliveries.c.state.in_([DeliveryState.SENT, DeliveryState.WARNING]),
            deliveries.c.done_at < before,
            deliveries.c.next_at < before,
            instances.c.spooled,
            ~asked.exists(),
        )
        .limit(limit)
    )
    return [(row[0], (row[1], row[2])) for row in connection.execute(query)]


def asked(
    connection: Connection,
    transaction_uid: str,
    peer: str,
    found: Sequence[tuple[int, Named]],
    until: float,
) -> None:
    """Write that we ask a peer about deliveries; without an answer until then they are asked about anew."""
    _add(connection, transaction_uid, "scu", peer, ASKED, until)
    once = {named: (delivery_id, named) for delivery_id, named in found}
    connection.execute(
        insert(commitment_items),
        [_item(transaction_uid, named, delivery_id) for delivery_id, named in once.values()],
    )


def give_up(connection: Connection, before: float) -> int:
    """Let go of our transactions without an answer in time; return how many."""
    changed = connection.execute(
        update(commitments)
        .where(commitments.c.role == "scu", commitments.c.state == ASKED, commitments.c.next_at < before)
        .values(state=DONE, error="no answer in time")
    )
    return int(changed.rowcount)


def end(connection: Connection, transaction_uid: str, error: str | None) -> None:
    """Write that a transaction is over."""
    connection.execute(
        update(commitments)
        .where(commitments.c.transaction_uid == transaction_uid)
        .values(state=DONE, error=error)
    )


def reported(
    connection: Connection,
    transaction_uid: str,
    committed: Collection[str],
    failed: Mapping[str, tuple[str, bool]],
) -> bool:
    """Take the answer to one of our transactions.

    Parameters
    ----------
    committed
        SOP Instance UIDs.
    failed
        By SOP Instance UID why not, and whether the peer has not got the object: then it is sent again.

    Returns
    -------
    bool
        False where it is none of ours that waits for an answer.
    """
    waiting = select(commitments.c.transaction_uid).where(
        commitments.c.transaction_uid == transaction_uid,
        commitments.c.role == "scu",
        commitments.c.state == ASKED,
    )
    if connection.execute(waiting).first() is None:
        return False
    items = select(commitment_items).where(commitment_items.c.transaction_uid == transaction_uid)
    for item in connection.execute(items).all():
        if item.sop_instance_uid in committed:
            _arrived(connection, item.delivery_id)
        elif item.sop_instance_uid in failed:
            why, missing = failed[item.sop_instance_uid]
            _failed(connection, item.delivery_id, f"not committed: {why}", missing=missing)
    end(connection, transaction_uid, None)
    return True


def requested(connection: Connection, transaction_uid: str, peer: str, objects: Collection[Named]) -> bool:
    """Write that a peer asks us; return False where it has asked under this UID before."""
    if not _add(connection, transaction_uid, "scp", peer, OPEN, now()):
        return False
    rows = {uid: _item(transaction_uid, (sop_class, uid), None) for sop_class, uid in objects}
    if rows:
        connection.execute(insert(commitment_items), list(rows.values()))
    return True


def due(connection: Connection, time: float, limit: int = 20) -> list[Transaction]:
    """Return transactions of peers that are to be looked at."""
    query = (
        select(commitments)
        .where(commitments.c.role == "scp", commitments.c.state == OPEN, commitments.c.next_at <= time)
        .order_by(commitments.c.next_at)
        .limit(limit)
    )
    return [
        Transaction(row.transaction_uid, row.peer, row.attempts, row.made_at, _objects(connection, row[0]))
        for row in connection.execute(query)
    ]


def later(connection: Connection, transaction_uid: str, next_at: float, error: str | None) -> None:
    """Look at a transaction of a peer again later; with an error, it could not be told."""
    connection.execute(
        update(commitments)
        .where(commitments.c.transaction_uid == transaction_uid)
        .values(next_at=next_at, error=error, attempts=commitments.c.attempts + (error is not None))
    )


def standing(connection: Connection, sop_instance_uid: str) -> set[str] | None:
    """Return the states of an object's deliveries, None where it never came or its file is gone untold."""
    query = (
        select(instances.c.id, instances.c.spooled, deliveries.c.state)
        .join(deliveries, deliveries.c.instance_id == instances.c.id, isouter=True)
        .where(instances.c.sop_instance_uid == sop_instance_uid)
    )
    rows = connection.execute(query).all()
    states = {str(row.state) for row in rows if row.state is not None}
    return states if states or any(row.spooled for row in rows) else None


def _add(
    connection: Connection, transaction_uid: str, role: str, peer: str, state: str, next_at: float
) -> bool:
    values = {"role": role, "peer": peer, "state": state, "attempts": 0, "next_at": next_at, "made_at": now()}
    row = {"transaction_uid": transaction_uid, **values}
    return bool(upsert(connection, commitments, row, ["transaction_uid"]))


def _item(transaction_uid: str, named: Named, delivery_id: int | None) -> dict[str, str | int | None]:
    return {
        "transaction_uid": transaction_uid,
        "sop_class_uid": named[0],
        "sop_instance_uid": named[1],
        "delivery_id": delivery_id,
    }


def _objects(connection: Connection, transaction_uid: str) -> list[Named]:
    items = commitment_items.c
    query = select(items.sop_class_uid, items.sop_instance_uid).where(
        items.transaction_uid == transaction_uid
    )
    return [(row[0], row[1]) for row in connection.execute(query)]


def _arrived(connection: Connection, delivery_id: int) -> None:
    connection.execute(
        update(deliveries)
        .where(
            deliveries.c.id == delivery_id,
            deliveries.c.state.in_([DeliveryState.SENT, DeliveryState.WARNING]),
        )
        .values(state=DeliveryState.COMMITTED)
    )


def _failed(connection: Connection, delivery_id: int, error: str, *, missing: bool) -> None:
    """Send it again where the peer has not got it; else ask again, each after a while."""
    row = connection.execute(select(deliveries.c.attempts).where(deliveries.c.id == delivery_id)).first()
    attempts = row[0] if row else 0
    values: dict[str, object] = {"error": error, "next_at": now() + _RESEND_SECONDS * attempts}
    if missing and attempts >= _MOST_RESENDS:
        values |= {"state": DeliveryState.REFUSED}
    elif missing:
        values |= {"state": DeliveryState.WAITING, "done_at": None}
        connection.info[RINGS] = True
    connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**values))
