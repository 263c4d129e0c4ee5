"""What has to go where: one row an instance and destination, with a life of its own each."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Integer,
    Select,
    and_,
    bindparam,
    func,
    or_,
    select,
    update,
)

from orthanc_al.domain import Instance
from orthanc_al.ledger.engine import RINGS
from orthanc_al.ledger.schema import deliveries, instances, jobs, selections, studies
from orthanc_al.observe import now

_LONGEST_WAIT: Final = 900.0  # three times the longest that a destination is left alone


class DeliveryState(StrEnum):
    """Where a delivery stands; all but ``waiting`` are ends."""

    WAITING = "waiting"
    SENT = "sent"
    WARNING = "warning"  # delivered, and the destination had a remark (0xBxxx)
    COMMITTED = "committed"  # delivered, and the destination has committed itself to keep it
    REFUSED = "refused"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Delivery:
    """An instance that waits to be sent to ``destination``.

    Attributes
    ----------
    attempts
        How many were made before.
    own
        Whether it is an object of ours: there is none before its row is sure.
    """

    id: int
    destination: str
    attempts: int
    instance: Instance
    own: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """What came of an attempt, to be written.

    Attributes
    ----------
    state
        Where the delivery stands now; ``waiting`` where it is tried again at ``time``.
    time
        When it ended, or when it is due again; seconds since 1970.
    status
        The destination's answer (PS3.4 B.2.3), None where there was none.
    error
        What the destination remarked, or why it was not delivered.
    transfer_syntax_uid
        The syntax that was sent, where it is not the one that came in.
    """

    delivery_id: int
    state: DeliveryState
    time: float
    status: int | None
    error: str | None
    transfer_syntax_uid: str | None = None


# Asked for with each instance that comes: to make a statement costs more than to run it.
_DUE: Final = (
    select(
        deliveries.c.id.label("delivery_id"),
        deliveries.c.attempts,
        (func.coalesce(instances.c.kind, "") == "own").label("own"),
        instances.c.id,
        instances.c.sop_class_uid,
        instances.c.sop_instance_uid,
        instances.c.transfer_syntax_uid,
        instances.c.size,
        instances.c.received_at,
    )
    .join(instances, instances.c.id == deliveries.c.instance_id)
    .where(
        deliveries.c.destination == bindparam("destination"),
        deliveries.c.state == DeliveryState.WAITING,
        or_(
            deliveries.c.next_at <= bindparam("time"),
            deliveries.c.next_at > bindparam("time", type_=Float) + _LONGEST_WAIT,
            deliveries.c.attempts == 0,
        ),
    )
    .order_by(deliveries.c.next_at, deliveries.c.id)
    .limit(bindparam("limit", type_=Integer))
)


def due(connection: Connection, destination: str, time: float, limit: int) -> list[Delivery]:
    """Return the deliveries to a destination whose time has come, the longest waiting first.

    What was never tried is due at once, and so is a time that no wait of ours reaches: it comes from a clock
    that was set back since.
    """
    found = []
    limits = {"destination": destination, "time": time, "limit": limit}
    for row in connection.execute(_DUE, limits).mappings():
        values = dict(row)
        delivery_id, attempts, own = values.pop("delivery_id"), values.pop("attempts"), values.pop("own")
        found.append(Delivery(delivery_id, destination, attempts, Instance(**values), own=own))
    return found


def write(connection: Connection, notes: Sequence[Note]) -> None:
    """Write what came of deliveries, many in one statement."""
    ended = [_values(note) for note in notes if note.state is not DeliveryState.WAITING]
    later = [_values(note) for note in notes if note.state is DeliveryState.WAITING]
    if ended:
        connection.execute(_END, ended)
    if later:
        connection.execute(_LATER, later)


def _values(note: Note) -> dict[str, Any]:
    return {
        "of": note.delivery_id,
        "new_state": note.state.value,
        "at": note.time,
        "new_status": note.status,
        "new_error": note.error,
        "sent_as": note.transfer_syntax_uid,
    }


_ATTEMPT: Final = {
    "attempts": deliveries.c.attempts + 1,
    "status": bindparam("new_status"),
    "error": bindparam("new_error"),
}
_END: Final = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("of"))
    .values(
        **_ATTEMPT,
        state=bindparam("new_state"),
        transfer_syntax_uid=bindparam("sent_as"),
        done_at=bindparam("at"),
    )
)
_LATER: Final = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("of"), deliveries.c.state == DeliveryState.WAITING)
    .values(**_ATTEMPT, next_at=bindparam("at"))
)


def try_again(connection: Connection, destination: str | None = None, subject: str | None = None) -> int:
    """Put refused deliveries back to waiting, and have those that wait for their time sent now.

    For `orthanc-al requeue`, once whatever the destination did not like is mended there. Only where the
    file is still in the spool.

    Parameters
    ----------
    destination, subject
        Only to this one; only of this study or instance. Where both are named, a cancelled delivery is
        taken up again too.

    Returns
    -------
    int
        Number of deliveries that were at their end and are not any more.
    """
    at_end = [DeliveryState.REFUSED, *([DeliveryState.CANCELLED] if destination and subject else [])]
    where = (*_of(destination, subject), deliveries.c.instance_id.in_(_spooled()))
    due_now = deliveries.c.state == DeliveryState.WAITING
    connection.execute(update(deliveries).where(*where, due_now).values(next_at=now()))
    changed = connection.execute(
        update(deliveries)
        .where(*where, deliveries.c.state.in_(at_end))
        .values(state=DeliveryState.WAITING, next_at=now(), attempts=0, done_at=None)
    )
    connection.info[RINGS] = True
    return int(changed.rowcount)


def cancel(connection: Connection, destination: str, subject: str | None, reason: str) -> int:
    """Give up deliveries to one destination that wait or were refused; return how many.

    Parameters
    ----------
    subject
        Only of this study or instance; None for all.
    reason
        Kept with each of them.
    """
    changed = connection.execute(
        update(deliveries)
        .where(
            *_of(destination, subject),
            deliveries.c.state.in_([DeliveryState.WAITING, DeliveryState.REFUSED]),
        )
        .values(state=DeliveryState.CANCELLED, error=reason, done_at=now())
    )
    return int(changed.rowcount)


def _of(destination: str | None, subject: str | None) -> list[ColumnElement[bool]]:
    """Return the conditions for deliveries to a destination, of a study or instance."""
    found: list[ColumnElement[bool]] = []
    if destination:
        found.append(deliveries.c.destination == destination)
    if subject:
        of_study = select(instances.c.id).where(instances.c.study_instance_uid == subject)
        found.append(or_(deliveries.c.instance_id == subject, deliveries.c.instance_id.in_(of_study)))
    return found


def _spooled() -> Select[tuple[str]]:
    return select(instances.c.id).where(instances.c.spooled)


def counts(connection: Connection) -> dict[tuple[str, DeliveryState], int]:
    """Return the number of deliveries by destination and state."""
    query = select(deliveries.c.destination, deliveries.c.state, func.count()).group_by(
        deliveries.c.destination, deliveries.c.state
    )
    return {(row[0], DeliveryState(row[1])): row[2] for row in connection.execute(query)}


def oldest_waiting(connection: Connection) -> dict[str, float]:
    """Return, by destination, when the instance that waits longest for it was received."""
    query = (
        select(deliveries.c.destination, func.min(instances.c.received_at))
        .join(instances, instances.c.id == deliveries.c.instance_id)
        .where(deliveries.c.state == DeliveryState.WAITING)
        .group_by(deliveries.c.destination)
    )
    return {row[0]: float(row[1]) for row in connection.execute(query)}


def cleanable(
    connection: Connection,
    before: float,
    limit: int,
    destinations: Collection[str],
    committing: Collection[str] = (),
) -> Sequence[str]:
    """Return ids of spooled instances that nothing needs any more.

    Received before ``before``, delivered everywhere (to those of ``committing``: and committed to), with
    no work open for them or their study. What no destination has is never cleanable: a refused delivery
    holds its file until it is mended or cancelled, and where no destination was configured, or all were
    cancelled, ours is the only copy, unless it came from a destination, or from an Orthanc by REST. The
    images of an audit that is not signed yet are kept for its report.
    """
    of_instance = deliveries.c.instance_id == instances.c.id
    arrived = deliveries.c.state == DeliveryState.COMMITTED
    arrived |= deliveries.c.state.in_([DeliveryState.SENT, DeliveryState.WARNING]) & (
        deliveries.c.destination.not_in(committing)
    )
    given_up = deliveries.c.state == DeliveryState.CANCELLED
    undone = select(deliveries.c.id).where(of_instance, ~arrived, ~given_up)
    elsewhere = or_(
        select(deliveries.c.id).where(of_instance, arrived).exists(),
        instances.c.source.in_(destinations),
        instances.c.origin == "orthanc",  # which keeps what we took a copy of
        instances.c.kind == "own",
    )
    unsigned = (
        select(selections.c.id)
        .join(studies, studies.c.study_instance_uid == selections.c.study_instance_uid)
        .where(
            selections.c.study_instance_uid == instances.c.study_instance_uid,
            selections.c.kind == "audit",
            selections.c.signed_at.is_(None),
            studies.c.state.not_in(["read", "expired"]),
        )
    )
    work = select(jobs.c.id).where(
        or_(
            jobs.c.subject == instances.c.id,
            and_(
                instances.c.study_instance_uid.is_not(None), jobs.c.subject == instances.c.study_instance_uid
            ),
        )
    )
    query = (
        select(instances.c.id)
        .where(
            instances.c.spooled,
            instances.c.received_at < before,
            elsewhere,
            ~undone.exists(),
            ~work.exists(),
            ~unsigned.exists(),
        )
        .order_by(instances.c.received_at)
        .limit(limit)
    )
    return connection.execute(query).scalars().all()
