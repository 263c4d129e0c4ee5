"""What is not where it should be: deliveries that failed or were refused, one by one, for a person to see."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, or_, select

from orthanc_al.ledger.deliveries import DeliveryState
from orthanc_al.ledger.schema import deliveries, instances, studies

_MOST: Final = 200
_UNDONE: Final = (DeliveryState.WAITING.value, DeliveryState.REFUSED.value)


@dataclass(frozen=True, slots=True)
class Undelivered:
    """An instance that a destination does not have.

    Attributes
    ----------
    received_at, next_at
        Seconds since 1970: when it came, and when it is tried next.
    spooled
        Whether there still is a file to be sent.
    """

    instance_id: str
    destination: str
    state: str
    attempts: int
    next_at: float
    error: str
    study_instance_uid: str
    accession_number: str
    kind: str
    received_at: float
    spooled: bool


def listed(connection: Connection, limit: int = _MOST) -> list[Undelivered]:
    """Return what was refused, or waits after an attempt that failed: refused ones first, then the oldest."""
    query = (
        select(
            deliveries.c.instance_id,
            deliveries.c.destination,
            deliveries.c.state,
            deliveries.c.attempts,
            deliveries.c.next_at,
            deliveries.c.error,
            instances.c.study_instance_uid,
            studies.c.accession_number,
            instances.c.kind,
            instances.c.received_at,
            instances.c.spooled,
        )
        .join(instances, instances.c.id == deliveries.c.instance_id)
        .outerjoin(studies, studies.c.study_instance_uid == instances.c.study_instance_uid)
        .where(
            deliveries.c.state.in_(_UNDONE),
            or_(deliveries.c.state == DeliveryState.REFUSED.value, deliveries.c.attempts > 0),
        )
        .order_by(deliveries.c.state, instances.c.received_at, deliveries.c.id)
        .limit(limit)
    )
    return [
        Undelivered(**{key: _plain(key, value) for key, value in row.items()})
        for row in connection.execute(query).mappings()
    ]


def _plain(key: str, value: Any) -> Any:
    empty = {"error": "", "study_instance_uid": "", "accession_number": "", "kind": ""}
    return empty[key] if value is None and key in empty else value
