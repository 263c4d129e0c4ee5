"""Which errors are the ledger's own trouble, and none of the job's whose result was to be written."""

from typing import Any, Final

from sqlalchemy import ExceptionContext
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as WaitedTooLong

_SQLITE: Final = ("BUSY", "LOCKED", "FULL", "IOERR", "CANTOPEN", "READONLY", "PROTOCOL")
_POSTGRESQL: Final = ("08", "25006", "40", "53100", "53300", "55P03", "57P", "58")
"""Classes and codes: connection, read only, rolled back, full disk, connections, lock, shut down, system. Not
the limits that one row alone may reach."""


def passing(error: BaseException | None) -> BaseException | None:
    """Return what of an error and of its causes will pass with the ledger's trouble, None where nothing will.

    Locked for long, no space left, gone: whoever tries then may try as often as it takes. What the causes
    are looked at for: SQLite rolls all back where its disk is full, and the error is then of a savepoint that
    is no more.
    """
    while error is not None:
        if isinstance(error, WaitedTooLong) or (isinstance(error, DBAPIError) and _passes(error)):
            return error
        error = error.__context__
    return None


def cause_of(error: BaseException) -> BaseException:
    """Return what the database or its driver said: without the statement, whose values name patients."""
    return getattr(error, "orig", None) or error


def _passes(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    cause: Any = error.orig
    of_sqlite, of_postgresql = getattr(cause, "sqlite_errorname", None), getattr(cause, "sqlstate", None)
    if of_sqlite is not None:
        return str(of_sqlite).removeprefix("SQLITE_").startswith(_SQLITE)
    if of_postgresql is not None:
        return str(of_postgresql).startswith(_POSTGRESQL)
    return isinstance(error, OperationalError)  # the database was not reached


def without_row(context: ExceptionContext) -> None:
    """Leave of PostgreSQL's error what went wrong: its detail has the row, and with it a patient's name."""
    cause: Any = context.original_exception
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    if primary and context.sqlalchemy_exception is not None:
        cause.args = (primary,)
        kind = type(cause)
        context.sqlalchemy_exception.args = (f"({kind.__module__}.{kind.__qualname__}) {primary}",)


__all__ = ["cause_of", "passing", "without_row"]
