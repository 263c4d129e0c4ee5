"""The ledger's connection: SQLite (in its write-ahead log) by default, PostgreSQL by its URL.

`Ledger.write` is one transaction that holds the write lock from its start (``BEGIN IMMEDIATE``, an advisory
lock on PostgreSQL), so that what it read is still true when it writes, and that the disk has when it
returns; `Ledger.read` sees one consistent state and blocks nobody.
"""

import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, inspect, make_url, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as WaitedTooLong
from sqlalchemy.pool import QueuePool

from orthanc_al.errors import LedgerError
from orthanc_al.ledger import doorbell, log_file, upgrade
from orthanc_al.ledger.doorbell import Doorbell
from orthanc_al.ledger.locks import BUSY_SECONDS, PRECEDENCE, WRITE_LOCK, on_begin, on_connect
from orthanc_al.ledger.precedence import Precedence
from orthanc_al.ledger.trouble import cause_of, without_row

RINGS = "rings_the_bell"  # what a transaction puts into its connection's info where it writes deliveries

_POLL_SECONDS = 0.02


class Ledger:
    """The ledger at ``url``; a process opens one and shares it between its threads.

    Parameters
    ----------
    url
        SQLAlchemy URL, e.g. ``sqlite:////var/lib/orthanc-al/ledger.sqlite``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = _engine(url)
        self._writing = threading.Lock()
        self._is_torn = False  # the disk lost a piece of the log: what is behind it counts for nothing yet
        self._mending = threading.Lock()
        path = make_url(url).database if url.startswith("sqlite") else None
        self._bell = Path(f"{path}-bell") if path else None
        self.precedence = Precedence(Path(f"{path}-order") if path else None)

    @classmethod
    def open(cls, url: str) -> "Ledger":
        """Open a ledger that exists and whose schema is this program's.

        Raises
        ------
        LedgerError
            There is none, or its schema is older or newer; the text says which command helps.
        """
        with _told(url):
            path = make_url(url).database
            if url.startswith("sqlite") and path and not Path(path).exists():
                raise LedgerError(f"There is no ledger at {path}; `orthanc-al migrate` or `serve` makes it.")
            ledger = cls(url)
            found, wanted = ledger.revision(), upgrade.head()
        if found != wanted:
            ledger.close()
            raise LedgerError(
                f"The ledger has schema {found or 'none'} and this program needs {wanted}: "
                "run `orthanc-al migrate` (it keeps all data; make a `backup` first)."
            )
        return ledger

    @classmethod
    def create(cls, url: str) -> "Ledger":
        """Create the ledger or bring its schema up to date (Alembic), then open it.

        All of it or nothing, and one process at a time: who is killed meanwhile leaves no half a schema,
        and processes that start together don't make it twice.

        Raises
        ------
        LedgerError
            It can't be had, or a newer program wrote it.
        """
        with _told(url):
            path = make_url(url).database
            if url.startswith("sqlite") and path:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            upgrade.upgrade(url)
        return cls.open(url)

    @property
    def falls_alone(self) -> bool:
        """Whether what was not forced may be lost while this process lives: with PostgreSQL's server.

        Who does it again at its start alone has to force it there.
        """
        return self._engine.dialect.name != "sqlite"

    @contextmanager
    def write(self, *, forced: bool = True) -> Iterator[Connection]:
        """One transaction that may write: committed at the end, rolled back on an exception.

        Parameters
        ----------
        forced
            Whether it waits until the disk has it. False for what is done again from what the disk has: a
            power cut may take the last of such transactions, never one from before a forced one. A kill takes
            none, but for one of PostgreSQL's own processes (`falls_alone`). On SQLite others see it some
            moments before the disk has it (`sync`).

        Raises
        ------
        NotOnDiskError
            It is committed, and seen by others, but the disk would not have it.
        """
        with ExitStack() as kept:
            with self._turn(), self._engine.connect() as connection:
                connection.info["immediate"] = True
                connection.info[PRECEDENCE] = self.precedence
                connection.info[RINGS] = False
                with connection.begin():
                    log = kept.enter_context(log_file.opened(connection)) if forced else None
                    if self._engine.dialect.name != "sqlite":
                        connection.execute(select(func.pg_advisory_xact_lock(WRITE_LOCK)))
                        if not forced:
                            connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")
                    yield connection
                rings = connection.info[RINGS]
            self._bring_to_disk(log)
        if rings:
            self.ring()

    def sync(self) -> None:
        """Return when the disk has all that can be seen now; for who acts on it outside of the ledger.

        Raises
        ------
        NotOnDiskError
            The disk would not have it.
        """
        if self.falls_alone:
            return  # there nobody sees what was to be forced before it is
        with ExitStack() as kept:
            with self._engine.connect() as connection:
                log = kept.enter_context(log_file.opened(connection))
            self._bring_to_disk(log)

    def _bring_to_disk(self, log: int | None) -> None:
        if log is None:
            return
        if not self._is_torn:
            try:
                log_file.sync(log)
            except log_file.NotOnDiskError:
                self._is_torn = True
            else:
                return
        self._move_log()

    def mend(self) -> None:
        """Try again to have on the disk what it would not have before; where all is well nothing is done.

        For now and then: others who write know nothing of a hole that this process found.

        Raises
        ------
        NotOnDiskError
            The disk would still not have it.
        """
        if self._is_torn:
            self._move_log()

    def _move_log(self) -> None:
        with self._mending, self._engine.connect() as connection:
            self._is_torn = True  # whatever another came to meanwhile
            log_file.move(connection)
            self._is_torn = False

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let one thread of this process write at a time, on SQLite, which has one writer anyway.

        Many that look for its lock at once keep the interpreter from the one that holds it: 48
        associations would store 18 objects a second, where 8 store 124.
        """
        if self._engine.dialect.name != "sqlite":
            yield
            return
        if not self._writing.acquire(timeout=BUSY_SECONDS):
            raise WaitedTooLong(f"no turn to write within {BUSY_SECONDS} s")
        try:
            yield
        finally:
            self._writing.release()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent state of the ledger, for reading."""
        with self._engine.connect() as connection:
            connection.info["immediate"] = False
            if self._engine.dialect.name != "sqlite":  # its default sees with each statement what came since
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    def revision(self) -> str | None:
        """Return the schema's revision, None where there is no schema yet."""
        with self.read() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()

    def doorbell(self) -> Doorbell:
        """Return what hears it when a transaction that wrote deliveries has committed."""
        return Doorbell(self._bell)

    def ring(self) -> None:
        """Have who waits for deliveries look at the ledger now."""
        doorbell.ring(self._bell)

    def wait_for_change(self, seconds: float) -> None:
        """Return when another connection has committed something, or after ``seconds``.

        A hint that makes things quick, never the only way to learn of work: on PostgreSQL it only waits.
        """
        if self._engine.dialect.name != "sqlite":
            time.sleep(min(seconds, 0.2))
            return
        until = time.monotonic() + seconds
        with self._engine.connect() as connection:
            raw: Any = connection.connection.driver_connection
            before = raw.execute("PRAGMA data_version").fetchone()
            while time.monotonic() < until:
                time.sleep(_POLL_SECONDS)
                if raw.execute("PRAGMA data_version").fetchone() != before:
                    return

    def backup(self, target: Path) -> None:
        """Copy the ledger to ``target`` while it is in use (SQLite's online backup).

        Raises
        ------
        LedgerError
            The ledger is on PostgreSQL, which has its own tools for that.
        """
        if self._engine.dialect.name != "sqlite":
            raise LedgerError("The ledger is on PostgreSQL: back it up with pg_dump.")
        with self._engine.connect() as connection, sqlite3.connect(target) as copy:
            raw: Any = connection.connection.driver_connection
            raw.backup(copy)
        copy.close()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
        self.precedence.close()


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        engine = create_engine(url, pool_pre_ping=True, hide_parameters=True)  # they name patients
        event.listen(engine, "handle_error", without_row)
        return engine
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=8,
        max_overflow=72,
        hide_parameters=True,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )
    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Turn what goes wrong with the ledger as a whole into one text for the user."""
    try:
        yield
    except (SQLAlchemyError, OSError, ImportError) as error:
        shown = re.sub(r"//[^/@]*@", "//", url)  # without user and password
        cause = cause_of(error)
        raise LedgerError(f"The ledger at {shown} can't be opened: {cause}") from error
