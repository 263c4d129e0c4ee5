"""SQLite's write-ahead log as a file: brought to the disk after a commit, and not while it holds the lock.

With ``synchronous=FULL`` a commit holds the write lock until the disk has it, and whoever waits to write
waits for the disk as well: the listener's rows for the worker's reports. So each commit is one of
``synchronous=NORMAL``, and who promised its caller that the disk has it syncs the log afterwards, with all
that others wrote there meanwhile. What is seen in that moment may still be lost with the power: who acts on
it outside of the ledger syncs first (`orthanc_al.forward.line`).
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

LOG: Final = "log"  # in a connection's info: the log's path, where there is one

_PATIENCE: Final = 2000  # milliseconds for those who read: nobody can write meanwhile


class NotOnDiskError(OperationalError):
    """What was committed, and is seen by all, may go with the power: the disk would not have it."""

    def __init__(self, what: str, error: Exception | None = None) -> None:
        cause = sqlite3.OperationalError(f"the ledger's log can't be brought to the disk: {what}")
        cause.sqlite_errorname = "SQLITE_IOERR_FSYNC"
        super().__init__("fdatasync", None, cause)
        self.__cause__ = error


def path_of(raw: Any) -> str | None:
    """Return the log's path, None for a database that has none: it is in memory, or can't have one."""
    [mode] = raw.execute("PRAGMA journal_mode").fetchone()
    [file] = (row[2] for row in raw.execute("PRAGMA database_list").fetchall() if row[1] == "main")
    return f"{file}-wal" if mode == "wal" and file else None


@contextmanager
def opened(connection: Connection) -> Iterator[int | None]:
    """Yield the log, open; None where there is none.

    That the disk lost what was written into a file is told to all who had it open by then, and but once to
    those who open it later: so who commits has it open before.

    Raises
    ------
    NotOnDiskError
        It can't be opened.
    """
    path = connection.info.get(LOG)
    if path is None:
        yield None
        return
    try:
        log = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotOnDiskError(str(error.strerror), error) from error
    try:
        yield log
    finally:
        os.close(log)


def sync(log: int) -> None:
    """Return when the disk has what was committed before.

    What is in the log no more is in the database: SQLite syncs both before it writes over any of it.

    Raises
    ------
    NotOnDiskError
        The disk would not have it.
    """
    try:
        os.fdatasync(log)
    except OSError as error:
        raise NotOnDiskError(str(error.strerror), error) from error


def move(connection: Connection) -> None:
    """Return when the disk has all of the log in the database, and the next transaction begins it anew.

    For a log of which the disk lost a piece: after a power cut nothing behind that would count, though the
    disk has it. The system has the piece still, and does not write it a second time.

    Raises
    ------
    NotOnDiskError
        The disk would not have that either, or somebody reads for long.
    """
    raw: Any = connection.connection.driver_connection
    checkpoint = "PRAGMA wal_checkpoint(RESTART)"
    [patience] = raw.execute("PRAGMA busy_timeout").fetchone()
    raw.execute(f"PRAGMA busy_timeout={_PATIENCE}").close()
    try:
        try:
            [busy, *_] = raw.execute(checkpoint).fetchone()
        except sqlite3.OperationalError:  # SQLite's own file tells once of what was lost
            [busy, *_] = raw.execute(checkpoint).fetchone()
    except sqlite3.OperationalError as error:
        raise NotOnDiskError(str(error), error) from error
    finally:
        raw.execute(f"PRAGMA busy_timeout={patience}").close()
    if busy:
        raise NotOnDiskError("somebody reads for long")


__all__ = ["LOG", "NotOnDiskError", "move", "opened", "path_of", "sync"]
