"""SQLite's write-ahead log as a file: brought to the disk after a commit, and not while it holds the lock.

With ``synchronous=FULL`` a commit holds the write lock until the disk has it, and whoever waits to write
waits for the disk as well: the listener's rows for the worker's reports. So each commit is one of
``synchronous=NORMAL``, and who promised its caller that the disk has it syncs the log afterwards, with all
that others wrote there meanwhile. What is seen in that moment may still be lost with the power: who acts on
it outside of the ledger syncs first (`orthanc_al.forward.line`).
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError


def of(connection: Connection) -> Path | None:
    """Return the log's path, None for a database in memory."""
    raw: Any = connection.connection.driver_connection
    [file] = (row[2] for row in raw.execute("PRAGMA database_list").fetchall() if row[1] == "main")
    return Path(f"{file}-wal") if file else None


def sync(path: Path) -> None:
    """Return when the disk has what was committed before.

    What is in the log no more is in the database: SQLite syncs both before it writes over any of it.

    Raises
    ------
    OperationalError
        The disk would not have it.
    """
    try:
        log = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(log)
        finally:
            os.close(log)
    except OSError as error:
        cause = sqlite3.OperationalError(f"the ledger's log can't be brought to the disk: {error.strerror}")
        cause.sqlite_errorname = "SQLITE_IOERR_FSYNC"
        raise OperationalError("fdatasync", None, cause) from error


__all__ = ["of", "sync"]
