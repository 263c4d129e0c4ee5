"""Who called: associations, and those that were refused."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Connection, select, update

from orthanc_al.ledger.schema import associations, instances, refusals
from orthanc_al.ledger.upserts import upsert
from orthanc_al.observe import now

Ended = Literal["released", "aborted", "lost"]
OVER_REST: Final = "orthanc"
"""Address of what is no association of DICOM: a batch of instances taken from Orthanc's REST API."""


@dataclass(frozen=True, slots=True)
class Association:
    """An association by which instances came; ``ended`` is None while it is open."""

    id: str
    calling_ae: str
    called_ae: str
    address: str
    opened_at: float
    closed_at: float | None
    ended: Ended | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Somebody who called and is not listed; ``observed_only``: was let in all the same."""

    calling_ae: str
    called_ae: str
    address: str
    reason: str
    times: int
    observed_only: bool
    last_at: float


def opened(
    connection: Connection,
    association_id: str,
    calling_ae: str,
    called_ae: str,
    address: str,
    opened_at: float | None = None,
) -> None:
    """Write that an association was established (now, where no other time is told), once."""
    values = {
        "id": association_id,
        "calling_ae": calling_ae,
        "called_ae": called_ae,
        "address": address,
        "opened_at": now() if opened_at is None else opened_at,
    }
    upsert(connection, associations, values, ["id"])


def closed(connection: Connection, association_id: str, ended: Ended) -> None:
    """Write how an association ended; the first end that is told counts."""
    connection.execute(
        update(associations)
        .where(associations.c.id == association_id, associations.c.closed_at.is_(None))
        .values(closed_at=now(), ended=ended)
    )


def lose_open(connection: Connection, *, over_rest: bool = False) -> int:
    """Write that the associations of a listener (or watcher) that is gone are lost; return how many."""
    ours = associations.c.address == OVER_REST
    changed = connection.execute(
        update(associations)
        .where(associations.c.closed_at.is_(None), ours if over_rest else ~ours)
        .values(closed_at=now(), ended="lost")
    )
    return int(changed.rowcount)


def of_study(connection: Connection, study_instance_uid: str) -> list[Association]:
    """Return the associations by which a study's instances came, oldest first."""
    ids = select(instances.c.association_id).where(instances.c.study_instance_uid == study_instance_uid)
    query = select(associations).where(associations.c.id.in_(ids)).order_by(associations.c.opened_at)
    return [Association(**row) for row in connection.execute(query).mappings()]


def refuse(
    connection: Connection,
    calling_ae: str,
    called_ae: str,
    address: str,
    reason: str,
    *,
    observed_only: bool = False,
) -> None:
    """Count a caller that is not listed.

    Parameters
    ----------
    reason
        What is wrong, and what to put into the configuration to allow it.
    observed_only
        It was let in (``accept = "observe"``).
    """
    values: dict[str, Any] = {
        "calling_ae": calling_ae,
        "called_ae": called_ae,
        "address": address,
        "reason": reason,
        "observed_only": observed_only,
        "last_at": now(),
    }
    same = (
        refusals.c.calling_ae == calling_ae,
        refusals.c.called_ae == called_ae,
        refusals.c.address == address,
    )
    keys = ["calling_ae", "called_ae", "address"]
    if not upsert(connection, refusals, {**values, "times": 1}, keys):
        connection.execute(update(refusals).where(*same).values(**values, times=refusals.c.times + 1))


def all_refusals(connection: Connection) -> list[Refusal]:
    """Return who was refused, the latest first."""
    query = select(refusals).order_by(refusals.c.last_at.desc())
    return [Refusal(**row) for row in connection.execute(query).mappings()]
