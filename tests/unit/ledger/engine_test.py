"""The ledger is created by `create` alone, backs up online, and says what is wrong with it."""

import errno
import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from orthanc_al.errors import LedgerError
from orthanc_al.ledger import Ledger, engine, facts, locks, log_file
from orthanc_al.ledger.schema import metadata
from orthanc_al.ledger.trouble import passing


@pytest.mark.both_databases
def test_the_migrations_make_the_schema(ledger: Ledger) -> None:
    with ledger.read() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []


def test_a_ledger_that_is_absent_is_not_made_by_opening_it(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="serve"):
        Ledger.open(f"sqlite:///{tmp_path}/none.sqlite")
    assert not (tmp_path / "none.sqlite").exists()


def test_a_ledger_of_another_schema_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/l.sqlite"
    Ledger.create(url).close()
    with sqlite3.connect(tmp_path / "l.sqlite") as raw:
        raw.execute("UPDATE alembic_version SET version_num = 'ffff'")
    raw.close()
    with pytest.raises(LedgerError, match="migrate"):
        Ledger.open(url)


def test_creating_twice_keeps_what_is_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/l.sqlite"
    first = Ledger.create(url)
    with first.write() as connection:
        salt = facts.patient_salt(connection)
    first.close()
    again = Ledger.create(url)
    with again.write() as connection:
        assert facts.patient_salt(connection) == salt
    again.close()


def test_sqlite_is_concurrent_and_keeps_its_references(ledger: Ledger) -> None:
    with ledger.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_only_what_is_done_again_does_not_wait_for_the_disk(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = _synced(monkeypatch)
    for forced in (True, False, True, False):
        with ledger.write(forced=forced) as connection:
            facts.put(connection, "a", "b")
        assert len(synced) == forced
        synced.clear()
    with ledger.write() as connection:
        facts.put(connection, "a", "c")
    assert synced == [Path(f"{make_url(ledger.url).database}-wal").resolve()]


def test_nobody_waits_for_the_disk_that_takes_what_another_wrote(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Ledger.open(ledger.url)
    seen: list[str | None] = []

    def while_the_disk_takes_it(_: Path) -> None:
        for one in (ledger, other):  # a thread of the same process, and another process
            with one.write(forced=False) as connection:
                seen.append(facts.get(connection, "a"))

    monkeypatch.setattr(log_file, "sync", while_the_disk_takes_it)
    with ledger.write() as connection:
        facts.put(connection, "a", "b")
    other.close()
    assert seen == ["b", "b"]


def _refused(_: int) -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_what_the_disk_lost_of_the_log_is_moved_into_the_database(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a piece that is not there nothing of the log counts after a power cut."""
    monkeypatch.setattr(os, "fdatasync", _refused)
    with ledger.write() as connection:
        facts.put(connection, "a", "b")
    shutil.copy(make_url(ledger.url).database or "", tmp_path / "without its log.sqlite")
    with closing(Ledger(f"sqlite:///{tmp_path}/without its log.sqlite")) as alone, alone.read() as connection:
        assert facts.get(connection, "a") == "b"


def test_what_the_disk_would_not_have_is_told_until_it_has_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[Connection] = []

    def not_moved(connection: Connection) -> None:
        moved.append(connection)
        raise log_file.NotOnDiskError("Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", _refused)
        patched.setattr(log_file, "move", not_moved)
        told = _told_by(ledger, "b")
        assert "can't be brought to the disk: Input/output error" in str(told)
        assert passing(told) is told
        patched.undo()
        patched.setattr(log_file, "move", not_moved)
        _told_by(ledger, "c")  # the disk writes again, but what it lost is still lost
        with ledger.write(forced=False) as connection:
            assert facts.get(connection, "a") == "c"
        with pytest.raises(log_file.NotOnDiskError):
            ledger.mend()
    synced = _synced(monkeypatch)
    for _ in range(2):
        with ledger.write() as connection:
            facts.put(connection, "a", "d")
    assert len(moved) == 3
    assert len(synced) == 1  # the second: the first moved all


def test_what_the_disk_would_not_have_is_tried_again_by_itself(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others write behind the hole, and know nothing of it."""
    moved: list[Connection] = []
    real = log_file.move

    def move(connection: Connection) -> None:
        moved.append(connection)
        if len(moved) == 1:
            raise log_file.NotOnDiskError("Input/output error")
        real(connection)

    monkeypatch.setattr(os, "fdatasync", _refused)
    monkeypatch.setattr(log_file, "move", move)
    ledger.mend()
    assert not moved
    _told_by(ledger, "b")
    for _ in range(2):
        ledger.mend()
    assert len(moved) == 2


def _told_by(ledger: Ledger, value: str) -> log_file.NotOnDiskError:
    with pytest.raises(log_file.NotOnDiskError) as told, ledger.write() as connection:
        facts.put(connection, "a", value)
    return told.value


def test_a_log_that_somebody_reads_can_not_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "_PATIENCE", 0)
    url = f"sqlite:///{tmp_path}/l.sqlite"
    with closing(Ledger.create(url)) as ledger, closing(Ledger.open(url)) as other:
        with other.read() as reading:
            facts.get(reading, "a")
            monkeypatch.setattr(os, "fdatasync", _refused)
            assert "somebody reads" in str(_told_by(ledger, "b"))
        ledger.sync()


def test_a_log_that_can_not_be_opened_is_told_before_anything_is_written(ledger: Ledger) -> None:
    with ledger.read() as connection:
        path = connection.info[log_file.LOG]
        connection.info[log_file.LOG] = "/nowhere"
    with pytest.raises(log_file.NotOnDiskError, match="No such file"), ledger.write():
        pytest.fail("it was begun")
    with ledger.write(forced=False) as connection:
        connection.info[log_file.LOG] = path


def test_the_log_is_open_before_anything_is_written(ledger: Ledger) -> None:
    """The system tells who opens it later nothing of what was lost, if another was told."""
    log = Path(f"{make_url(ledger.url).database}-wal").resolve()

    def read_only() -> int:
        there = [int(one.name) for one in Path("/proc/self/fd").iterdir() if one.resolve() == log]
        return sum(fcntl.fcntl(one, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY for one in there)

    with ledger.write(forced=False):
        before = read_only()
    with ledger.write():
        assert read_only() == before + 1
    assert read_only() == before


def test_a_ledger_that_can_have_no_log_waits_with_each_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = _synced(monkeypatch)
    url = f"sqlite:///file:{tmp_path}/l.sqlite?vfs=unix-dotfile&uri=true"
    with closing(Ledger(url)) as ledger:
        with ledger.write() as connection:
            connection.exec_driver_sql("CREATE TABLE one (two)")
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        ledger.sync()
    assert synced == []


def test_a_ledger_in_memory_has_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    synced = _synced(monkeypatch)
    with closing(Ledger("sqlite:///file:none?mode=memory&cache=shared&uri=true")) as ledger:
        with ledger.write() as connection:
            connection.exec_driver_sql("CREATE TABLE one (two)")
        ledger.sync()
    assert synced == []


def _synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return what the files will be that are brought to the disk."""
    synced: list[Path] = []
    real = os.fdatasync

    def fdatasync(file: int) -> None:
        synced.append(Path(f"/proc/self/fd/{file}").resolve())
        real(file)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    return synced


@pytest.mark.both_databases
def test_on_postgresql_a_transaction_says_itself_whether_it_waits_for_the_disk(ledger: Ledger) -> None:
    with ledger.read() as connection:
        if connection.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1  # NORMAL, in each
            return
    for forced in (True, False, True, False):  # by connections that others had before
        with ledger.write(forced=forced) as connection:
            waits = connection.exec_driver_sql("SHOW synchronous_commit").scalar()
            assert waits == ("on" if forced else "off")
    ledger.sync()


def test_a_backup_is_a_whole_ledger_while_the_first_is_in_use(ledger: Ledger, tmp_path: Path) -> None:
    with ledger.write() as connection:
        facts.put(connection, "a", "b")
    with ledger.write() as writing:
        facts.put(writing, "a", "not yet committed")
        ledger.backup(tmp_path / "copy.sqlite")
    copy = Ledger.open(f"sqlite:///{tmp_path}/copy.sqlite")
    with copy.read() as connection:
        assert facts.get(connection, "a") == "b"
    copy.close()


@pytest.mark.both_databases
def test_what_was_read_is_still_true_when_it_is_written(ledger: Ledger) -> None:
    def add(_: int) -> None:
        with ledger.write() as connection:
            facts.put(connection, "count", str(int(facts.get(connection, "count") or 0) + 1))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(add, range(40)))
    with ledger.read() as connection:
        assert facts.get(connection, "count") == "40"


@pytest.mark.both_databases
def test_who_reads_sees_one_state_whatever_is_written_meanwhile(ledger: Ledger) -> None:
    with ledger.write() as connection:
        facts.put(connection, "count", "1")
    with ledger.read() as connection:
        assert facts.get(connection, "count") == "1"
        with ledger.write() as other:
            facts.put(other, "count", "2")
        assert facts.get(connection, "count") == "1"
    with ledger.read() as connection:
        assert facts.get(connection, "count") == "2"


@pytest.mark.both_databases
def test_an_exception_rolls_the_transaction_back(ledger: Ledger) -> None:
    def fails() -> None:
        with ledger.write() as connection:
            facts.put(connection, "a", "b")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    with ledger.read() as connection:
        assert facts.get(connection, "a") is None


@contextmanager
def _write_lock(ledger: Ledger) -> Iterator[sqlite3.Connection]:
    """Another process that is writing."""
    other = sqlite3.connect(ledger.url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield other
    other.close()


def test_who_waits_for_the_write_lock_looks_for_it_every_millisecond(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []
    with _write_lock(ledger) as other:

        def sleep(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 50:
                other.execute("ROLLBACK")

        monkeypatch.setattr(locks.time, "sleep", sleep)
        with ledger.write() as connection:
            facts.put(connection, "a", "b")
    assert waited == [0.001] * 50
    with ledger.read() as connection:
        assert facts.get(connection, "a") == "b"


def test_a_write_lock_that_never_comes_is_an_error_and_the_connection_stays_good(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _write_lock(ledger):
        monkeypatch.setattr(locks, "BUSY_SECONDS", 0)
        with pytest.raises(OperationalError, match="locked"), ledger.write():
            pytest.fail("a transaction began under another's lock")
        monkeypatch.undo()
    with ledger.write() as connection:
        facts.put(connection, "a", "b")
    with ledger.read() as connection:
        assert facts.get(connection, "a") == "b"
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000


def test_processes_that_start_together_make_one_ledger(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/l.sqlite"
    command = [sys.executable, "-c", f"from orthanc_al.ledger import Ledger; Ledger.create({url!r})"]
    makers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [(maker.communicate()[1], maker.returncode) for maker in makers] == [("", 0)] * 4


def test_who_opens_a_new_ledger_waits_for_who_does_so_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    with closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.execute("CREATE TABLE t (x)")
        other.commit()
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO t VALUES (1)")
        release = threading.Timer(0.3, other.commit)
        release.start()
        with closing(sqlite3.connect(path)) as raw:
            locks.use_write_ahead_log(raw)
            assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        release.join()


@pytest.mark.parametrize("statement", [8, 20])
def test_who_is_killed_while_making_it_leaves_no_half_a_schema(tmp_path: Path, statement: int) -> None:
    url = f"sqlite:///{tmp_path}/l.sqlite"
    program = (
        "import itertools, os, signal, sqlalchemy\n"
        "from orthanc_al.ledger import Ledger\n"
        "count = itertools.count(1)\n"
        "@sqlalchemy.event.listens_for(sqlalchemy.Engine, 'before_cursor_execute')\n"
        "def kill(*_):\n"
        f"    if next(count) == {statement}:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        f"Ledger.create({url!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    Ledger.create(url).close()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sqlite:///{folder}/text", "not a database"),
        ("sqlite:////proc/none/l.sqlite", "can't be opened"),
        ("nonsense", "can't be opened"),
    ],
)
def test_what_can_be_no_ledger_is_one_text(tmp_path: Path, url: str, why: str) -> None:
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(LedgerError, match=why):
        Ledger.create(url.format(folder=tmp_path))


def test_a_ledger_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/l.sqlite"
    Ledger.create(url).close()
    with sqlite3.connect(tmp_path / "l.sqlite") as raw:
        raw.execute("UPDATE alembic_version SET version_num = 'ffff'")
    raw.close()
    with pytest.raises(LedgerError, match="newer program"):
        Ledger.create(url)


def test_a_password_in_the_url_is_not_shown() -> None:
    with pytest.raises(LedgerError) as caught:
        Ledger.open("postgresql+nodriver://al:hunter2@db/al")
    assert "hunter2" not in str(caught.value)


def test_of_many_threads_one_looks_for_the_write_lock_at_a_time(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking: list[int] = []
    at_once: list[int] = []
    take = locks.take_write_lock

    def counted(connection: Connection) -> None:
        looking.append(1)
        at_once.append(len(looking))
        take(connection)
        looking.pop()

    def write(number: int) -> None:
        with ledger.write() as connection:
            facts.put(connection, f"fact {number}", "x")

    monkeypatch.setattr(locks, "take_write_lock", counted)
    with ThreadPoolExecutor(24) as threads:
        list(threads.map(write, range(72)))
    assert set(at_once) == {1}
    assert len(at_once) == 72


def test_a_thread_whose_turn_does_not_come_is_told_as_of_any_locked_ledger(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.1)
    with (
        ledger.write(),
        ThreadPoolExecutor(1) as other,
        pytest.raises(SQLAlchemyError, match="no turn to write"),
    ):
        other.submit(lambda: ledger.write().__enter__()).result()
