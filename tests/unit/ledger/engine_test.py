"""The ledger is created by `create` alone, backs up online, and says what is wrong with it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import OperationalError

from orthanc_al.errors import LedgerError
from orthanc_al.ledger import Ledger, engine, facts
from orthanc_al.ledger.schema import metadata


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


def test_sqlite_is_durable_and_concurrent(ledger: Ledger) -> None:
    with ledger.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


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

        monkeypatch.setattr(engine.time, "sleep", sleep)
        with ledger.write() as connection:
            facts.put(connection, "a", "b")
    assert waited == [0.001] * 50
    with ledger.read() as connection:
        assert facts.get(connection, "a") == "b"


def test_a_write_lock_that_never_comes_is_an_error_and_the_connection_stays_good(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _write_lock(ledger):
        monkeypatch.setattr(engine, "_BUSY_SECONDS", 0)
        with pytest.raises(OperationalError, match="locked"), ledger.write():
            pytest.fail("a transaction began under another's lock")
        monkeypatch.undo()
    with ledger.write() as connection:
        facts.put(connection, "a", "b")
    with ledger.read() as connection:
        assert facts.get(connection, "a") == "b"
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
