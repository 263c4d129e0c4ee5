"""What is known of destinations: why one is left alone just now, and what it accepts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from orthanc_al.ledger.schema import destinations
from orthanc_al.ledger.upserts import upsert
from orthanc_al.observe import now


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination as the forwarder knows it.

    Attributes
    ----------
    fault, reason, since, failures
        Why nothing is tried on it just now: of `orthanc_al.dicom.faults.Fault`, in words, since when,
        how often in a row; fault, reason and since are None where all is well.
    syntaxes
        By SOP class, the transfer syntaxes that it accepted, None where it was never asked.
    syntaxes_at
        When it was asked last, seconds since 1970.
    """

    name: str
    fault: str | None
    reason: str | None
    since: float | None
    failures: int
    syntaxes: Mapping[str, Sequence[str]] | None
    syntaxes_at: float | None


def known(connection: Connection) -> dict[str, Destination]:
    """Return what is known of each."""
    return {row["name"]: Destination(**row) for row in connection.execute(select(destinations)).mappings()}


def in_trouble(
    connection: Connection, name: str, fault: str, reason: str, since: float, failures: int
) -> None:
    """Write why a destination is left alone."""
    _put(connection, name, fault=fault, reason=reason, since=since, failures=failures)


def back(connection: Connection, names: Sequence[str]) -> None:
    """Write that nothing is wrong with these any more."""
    connection.execute(
        update(destinations)
        .where(destinations.c.name.in_(names))
        .values(fault=None, reason=None, since=None, failures=0)
    )


def learned(connection: Connection, name: str, syntaxes: Mapping[str, Sequence[str]]) -> None:
    """Write what a destination accepts."""
    kept = {sop_class: list(accepted) for sop_class, accepted in syntaxes.items()}
    _put(connection, name, syntaxes=kept, syntaxes_at=now())


def _put(connection: Connection, name: str, **values: Any) -> None:
    if not upsert(connection, destinations, {"name": name, "failures": 0, **values}, ["name"]):
        connection.execute(update(destinations).where(destinations.c.name == name).values(**values))
