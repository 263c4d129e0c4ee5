"""The ledger's locks: how a connection to SQLite is set up, and how long it waits for others."""

import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from orthanc_al.ledger import log_file

if TYPE_CHECKING:
    from orthanc_al.ledger.precedence import Precedence

BUSY_SECONDS: Final = 30
PRECEDENCE: Final = "precedence"  # in a connection's info: what its writers go by
_LOCK_POLL_SECONDS: Final = 0.001

WRITE_LOCK: Final = 0x6F7274_68616E63
"""Key of the advisory lock that a transaction that may write holds on PostgreSQL: there, as on SQLite, one
writes at a time, since what follows from what was read (a count, a draw, a fold) must not be lost."""


def on_connect(raw: Any, record: Any) -> None:
    """Set a new connection up: in the write-ahead log, without pysqlite's transactions.

    A commit waits for no disk (`orthanc_al.ledger.log_file`). Whoever moves the log into the database syncs
    it first, so that a power cut takes the end of what was not synced, and no more. Where there can be no log
    (in memory, say, or by a VFS without shared memory), a commit waits as SQLite has it.
    """
    # pysqlite would open transactions by itself, and late: we do it in `on_begin`.
    raw.isolation_level = None
    raw.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}").close()
    use_write_ahead_log(raw)
    record.info[log_file.LOG] = log_file.path_of(raw)
    synchronous = "NORMAL" if record.info[log_file.LOG] else "FULL"
    for pragma in (f"synchronous={synchronous}", "foreign_keys=ON"):
        raw.execute(f"PRAGMA {pragma}").close()


def use_write_ahead_log(raw: Any) -> None:
    """Switch to the write-ahead log: of a new ledger once, then it stays.

    SQLite does not wait for others there, whatever its busy_timeout: processes that start together on a
    new ledger would find it locked.
    """
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            raw.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if time.monotonic() >= until or not _is_busy(error):
                raise
            time.sleep(_LOCK_POLL_SECONDS)
        else:
            return


def _is_busy(error: BaseException | None) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")


def on_begin(connection: Connection) -> None:
    """Begin a transaction: one that may write holds the write lock from its start."""
    if connection.info.get("immediate"):
        take_write_lock(connection)
    else:
        connection.exec_driver_sql("BEGIN")


def take_write_lock(connection: Connection) -> None:
    """Begin a transaction that may write, looking for the lock every millisecond.

    SQLite's own waiting sleeps longer the longer it waits (up to 100 ms), so that newcomers overtake:
    the listener would stand behind the worker, and a modality behind both.
    """
    began = time.monotonic()
    precedence: Precedence = connection.info[PRECEDENCE]
    connection.exec_driver_sql("PRAGMA busy_timeout=0")
    try:
        precedence.let_others_go(began)
        while not _begun(connection, is_last_try=time.monotonic() >= began + BUSY_SECONDS):
            precedence.begin_to_wait()
            time.sleep(_LOCK_POLL_SECONDS)
            precedence.let_others_go(began)
    finally:
        precedence.end()
        connection.exec_driver_sql(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")


def _begun(connection: Connection, *, is_last_try: bool) -> bool:
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    except OperationalError as error:
        if is_last_try or not _is_busy(error.orig):
            raise
        return False
    return True
