"""What outcomes write: those of a batch at once, and each by itself where one of them can't be written."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

Effect = Callable[[Connection], None]


@runtime_checkable
class JointEffect(Protocol):
    """An effect that costs less for several outcomes together."""

    def __call__(self, connection: Connection) -> None:
        """Write it."""

    def write_with(self, connection: Connection, others: Sequence[Any]) -> None:
        """Write it and others of its type, as each would be by itself."""


def write_each(connection: Connection, effects: Sequence[Effect]) -> list[Exception | None]:
    """Write effects; return for each why it could not be written, None where it was.

    Of one that could not be nothing is written; it takes nothing of the others along. That of all of them is
    undone then and each is written anew: an effect holds nothing of what it did.

    Raises
    ------
    SQLAlchemyError
        The ledger can't be written.
    """
    together = _error_of(connection, effects)
    if together is None or len(effects) == 1:
        return [together for _ in effects]
    return [_error_of(connection, [effect]) for effect in effects]


def _error_of(connection: Connection, effects: Sequence[Effect]) -> Exception | None:
    """Write effects, all or nothing; return why they could not be written."""
    try:
        with connection.begin_nested():
            _write(connection, effects)
    except Exception as error:
        if not _is_the_jobs_own(error):
            raise
        return error
    return None


def _write(connection: Connection, effects: Sequence[Effect]) -> None:
    joint: dict[type, list[JointEffect]] = {}
    for effect in effects:
        if isinstance(effect, JointEffect):
            joint.setdefault(type(effect), []).append(effect)
        else:
            effect(connection)
    for first, *others in joint.values():
        first.write_with(connection, others)


def _is_the_jobs_own(error: Exception) -> bool:
    """Whether an error is of one job's outcome, and leaves the transaction as it was before it."""
    return isinstance(error, IntegrityError | DataError) or not isinstance(error, SQLAlchemyError)
