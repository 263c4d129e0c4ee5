"""Rows that are inserted, or set where they are there already: the same on SQLite and PostgreSQL."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def upsert(
    connection: Connection,
    table: Table,
    values: dict[str, Any] | Sequence[dict[str, Any]],
    keys: Sequence[str],
    update: Sequence[str] = (),
    *,
    where: Any = None,
    lower: str | None = None,
) -> int:
    """Insert rows; where ``keys`` exist already, set the columns ``update`` (none: leave the row).

    ``where`` is the condition of a partial unique index, as text; ``lower`` a column by whose lower value
    alone a row is updated. Returns the number of rows written.
    """
    statement = _upsert(connection.dialect.name, table, tuple(keys), tuple(update), where, lower)
    # PostgreSQL returns the new row's key, after whose reading the driver does not count any more.
    return int(connection.execute(statement, values, execution_options={"preserve_rowcount": True}).rowcount)


@cache
def _upsert(
    dialect: str, table: Table, keys: tuple[str, ...], update: tuple[str, ...], where: Any, lower: str | None
) -> Any:
    """Return the statement of `upsert`: to make it takes several times as long as to run it."""
    statement: Any = (sqlite if dialect == "sqlite" else postgresql).insert(table)
    if not update:
        return statement.on_conflict_do_nothing(index_elements=list(keys), index_where=where)
    return statement.on_conflict_do_update(
        index_elements=list(keys),
        index_where=where,
        set_={name: statement.excluded[name] for name in update},
        where=None if lower is None else table.c[lower] > statement.excluded[lower],
    )


__all__ = ["upsert"]
