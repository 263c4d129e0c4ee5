"""Patients under several IDs: what a merge in the hospital's master index means for splits and caches."""

from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from orthanc_al.ledger.schema import patient_aliases, patient_folds, studies, training_cache
from orthanc_al.ledger.upserts import upsert


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge came to.

    Attributes
    ----------
    studies
        How many changed hands.
    fold
        What the patient's reads serve for from now on, None where none of hers has been in a night yet.
    left_out
        The fold that the other ID had, if it was another: its reads serve for nothing any more that they
        might have judged or trained twice.
    """

    studies: int
    fold: str | None
    left_out: str | None


def resolve(connection: Connection, patient_key: str) -> str:
    """Return the key that a patient is known by today: that which hers was merged into, or hers."""
    query = select(patient_aliases.c.belongs_to).where(patient_aliases.c.patient_key == patient_key)
    found: str | None = connection.execute(query).scalar_one_or_none()
    return patient_key if found is None else found


def merge(connection: Connection, gone: str, kept: str, at: float) -> Merged:
    """Make two patients one: what is known of ``gone``, and what will arrive under it, belongs to ``kept``.

    The one patient keeps the split that either of them had first: what has trained must never judge.

    Parameters
    ----------
    gone, kept
        Keys (`orthanc_al.domain.patient_key`); what they were merged into before is followed.
    at
        Seconds since 1970.
    """
    gone, kept = resolve(connection, gone), resolve(connection, kept)
    if gone == kept:
        return Merged(0, _fold(connection, kept), None)
    first, later = _folds(connection, gone, kept)
    connection.execute(delete(patient_folds).where(patient_folds.c.patient_key.in_((gone, kept))))
    if first is not None:
        connection.execute(insert(patient_folds).values(patient_key=kept, fold=first["fold"], at=first["at"]))
    moved = connection.execute(update(studies).where(studies.c.patient_key == gone).values(patient_key=kept))
    connection.execute(
        update(training_cache).where(training_cache.c.patient_key == gone).values(patient_key=kept)
    )
    connection.execute(
        update(patient_aliases).where(patient_aliases.c.belongs_to == gone).values(belongs_to=kept)
    )
    upsert(
        connection,
        patient_aliases,
        {"patient_key": gone, "belongs_to": kept, "at": at},
        ["patient_key"],
        ["belongs_to", "at"],
    )
    other = None if later is None or first is None or later["fold"] == first["fold"] else later["fold"]
    return Merged(int(moved.rowcount), None if first is None else first["fold"], other)


def drop(connection: Connection, patient_key: str) -> None:
    """Forget which other keys a patient had."""
    connection.execute(delete(patient_aliases).where(patient_aliases.c.belongs_to == patient_key))


def _fold(connection: Connection, patient_key: str) -> str | None:
    found: str | None = connection.execute(
        select(patient_folds.c.fold).where(patient_folds.c.patient_key == patient_key)
    ).scalar_one_or_none()
    return found


def _folds(connection: Connection, *keys: str) -> tuple[RowMapping | None, RowMapping | None]:
    """Return the fold rows of two patients, the older one first, filled up with None."""
    query = select(patient_folds).where(patient_folds.c.patient_key.in_(keys)).order_by(patient_folds.c.at)
    rows: list[RowMapping | None] = list(connection.execute(query).mappings())
    first, later = (*rows, None, None)[:2]
    return first, later
