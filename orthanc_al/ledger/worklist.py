"""The worklist in reading order: by read-by time, then by arrival, behind the curtain.

Both time and order are those in ``studies``, which are neutral for a blind study; all that the model said
comes through `orthanc_al.ledger.curtain`.
"""

from collections.abc import Collection, Sequence
from dataclasses import fields
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    TextClause,
    and_,
    func,
    or_,
    select,
    text,
    tuple_,
)

from orthanc_al.domain import StudyState, Tier
from orthanc_al.ledger import curtain
from orthanc_al.ledger.entries import Entry, Filter, Listed, Page, Result
from orthanc_al.ledger.schema import predictions, selections, studies
from orthanc_al.ledger.schema.studies import ON_WORKLIST

__all__ = ["Entry", "Filter", "Listed", "Page", "Result"]

_CLOSED: Final = tuple(state.value for state in StudyState if not state.on_worklist)
_SEARCHED: Final = (studies.c.patient_name, studies.c.patient_id, studies.c.accession_number)


# What a line takes from its row as it stands; the other fields are computed.
_ENTRY_COLUMNS: Final = tuple(
    field.name
    for field in fields(Entry)
    if field.name not in {"state", "reason", "tier", "why", "result", "asked", "orthanc_id"}
)
_RESULT_COLUMNS: Final = tuple(f.name for f in fields(Result) if f.name not in {"tier", "why"})


def page(connection: Connection, wanted: Filter, *, limit: int, offset: int = 0) -> Page:
    """Return the studies that ``wanted`` lets through, in reading order.

    Parameters
    ----------
    limit, offset
        How many entries, and how many of the list's head to leave out.
    """
    tier = curtain.shown_tier()
    conditions = _conditions(wanted)
    counted = dict.fromkeys(Tier, 0)
    for name, count in connection.execute(select(tier, func.count()).where(*conditions).group_by(tier)):
        counted[Tier(name)] = count
    if wanted.tier is not None:
        conditions.append(tier == wanted.tier.value)
    query = (
        _studies_as_shown()
        .where(*conditions)
        .order_by(studies.c.read_by, studies.c.arrived_at, studies.c.study_instance_uid)
        .limit(limit)
        .offset(offset)
    )
    entries = _entries(connection, connection.execute(query).mappings().all())
    total = sum(counted.values()) if wanted.tier is None else counted[wanted.tier]
    return Page(entries, total, offset, counted)


def get(connection: Connection, study_instance_uid: str) -> Entry | None:
    """Return one study as the worklist shows it, None where the ledger has none."""
    query = _studies_as_shown().where(studies.c.study_instance_uid == study_instance_uid)
    found = _entries(connection, connection.execute(query).mappings().all())
    return found[0] if found else None


def following(connection: Connection, study_instance_uid: str, modality: str = "") -> Entry | None:
    """Return the study to be read after another one: the next in the order, at its end the first.

    Parameters
    ----------
    modality
        Of the studies that are looked at; empty: all.
    """
    place = (studies.c.read_by, studies.c.arrived_at, studies.c.study_instance_uid)
    here = connection.execute(select(*place).where(place[2] == study_instance_uid)).first()
    conditions: list[ColumnElement[bool] | TextClause] = [is_open(), place[2] != study_instance_uid]
    if modality:
        conditions.append(studies.c.modality == modality)
    query = _studies_as_shown().order_by(*place).limit(1)
    later = [] if here is None else [[tuple_(*place) > tuple_(*here), *conditions]]
    for wanted in (*later, conditions):
        found = _entries(connection, connection.execute(query.where(*wanted)).mappings().all())
        if found:
            return found[0]
    return None


def changed_at(connection: Connection) -> float:
    """Return when a study was last written (seconds since 1970): a hint to look again, never shown."""
    return float(connection.execute(select(func.max(studies.c.changed_at))).scalar() or 0.0)


def modalities(connection: Connection) -> list[str]:
    """Return the modalities of the studies on the worklist, sorted."""
    query = (
        select(studies.c.modality)
        .where(is_open(), studies.c.modality != "")
        .distinct()
        .order_by(studies.c.modality)
    )
    return list(connection.scalars(query))


def results(connection: Connection, uids: Collection[str]) -> dict[str, list[Result]]:
    """Return all results of studies that may be shown, the deciding ones first."""
    query = (
        select(predictions)
        .join(studies, studies.c.study_instance_uid == predictions.c.study_instance_uid)
        .where(predictions.c.study_instance_uid.in_(uids), curtain.shown_prediction())
        .order_by(predictions.c.study_instance_uid)
    )
    rows = connection.execute(query).mappings()
    return {
        uid: sorted(map(_result, of_study), key=_precedence)
        for uid, of_study in groupby(rows, key=itemgetter("study_instance_uid"))
    }


def _conditions(wanted: Filter) -> list[ColumnElement[bool] | TextClause]:
    conditions: list[ColumnElement[bool] | TextClause] = []
    if wanted.listed is not Listed.ALL:
        conditions.append(is_open() if wanted.listed is Listed.OPEN else studies.c.state.in_(_CLOSED))
    if wanted.modality:
        conditions.append(studies.c.modality == wanted.modality)
    if part := wanted.text.strip():
        conditions.append(or_(*(column.icontains(part, autoescape=True) for column in _SEARCHED)))
    return conditions


def is_open() -> TextClause:
    """Whether somebody still has to read it, in the words that the index of the reading order is kept by."""
    return text(f"studies.{ON_WORKLIST}")


def entries(connection: Connection, uids: Collection[str]) -> dict[str, Entry]:
    """Return studies as the worklist shows them, by their UID; unknown ones are left out."""
    query = _studies_as_shown().where(studies.c.study_instance_uid.in_(uids))
    found = _entries(connection, connection.execute(query).mappings().all())
    return {entry.study_instance_uid: entry for entry in found}


def _studies_as_shown() -> Any:
    """Return the query of studies with the columns that the curtain may hold back replaced."""
    behind = {"state", "tier", "why", "blind", "placed_at", "changed_at"}
    return select(
        *(column for column in studies.c if column.name not in behind),
        curtain.shown_state().label("state"),
        curtain.shown_tier().label("tier"),
        curtain.lifted().label("lifted"),
        studies.c.why,
    )


def _entries(connection: Connection, rows: Sequence[RowMapping]) -> list[Entry]:
    open_uids = [row["study_instance_uid"] for row in rows if row["lifted"]]
    found = results(connection, open_uids)
    asked = _asked(connection, open_uids)
    return [_entry(row, found.get(row["study_instance_uid"], []), asked) for row in rows]


def _entry(row: RowMapping, found: Sequence[Result], asked: Collection[str]) -> Entry:
    result = found[0] if found else None
    state = StudyState(row["state"])
    return Entry(
        **{name: row[name] for name in _ENTRY_COLUMNS},
        state=state,
        reason=(row["reason"] or "") if state is StudyState.INELIGIBLE else "",
        tier=Tier(row["tier"]),
        why=(row["why"] or result.why) if result else _neutral_why(row["priority"]),
        result=result,
        asked=row["study_instance_uid"] in asked,
        orthanc_id=row["orthanc_id"] or "",
    )


def _neutral_why(priority: str) -> str:
    return f"Order priority {priority}; no score" if priority else "In order of arrival; no score"


def _asked(connection: Connection, uids: Collection[str]) -> set[str]:
    query = select(selections.c.study_instance_uid).where(
        and_(selections.c.study_instance_uid.in_(uids), selections.c.kind == "query")
    )
    return set(connection.scalars(query))


def _result(row: RowMapping) -> Result:
    return Result(
        **{name: row[name] for name in _RESULT_COLUMNS},
        tier=Tier(row["tier"] or Tier.NONE.value),
        why=row["why"] or "",
    )


def _precedence(result: Result) -> tuple[float, ...]:
    """Newest revision, then the earliest read-by time (several findings or models: the earliest counts)."""
    read_by = float("inf") if result.read_by is None else float(result.read_by)
    return (-result.revision, read_by, -result.probability, -result.scored_at)
