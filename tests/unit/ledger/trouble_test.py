"""What is the ledger's own trouble passes, and is no try of the job whose result could not be written."""

from collections.abc import Sequence

import pytest
from sqlalchemy import Connection, event, select
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as WaitedTooLong

from orthanc_al.ledger import Job, Ledger, Outcome, Worker, WorkQueue
from orthanc_al.ledger.queue import MAX_ATTEMPTS
from orthanc_al.ledger.schema import jobs
from orthanc_al.ledger.trouble import passing
from orthanc_al.pipeline import Step
from tests.contract.work_queue_test import Clock
from tests.support.arriving import arrive


def _error(**attributes: str) -> OperationalError:
    cause = Exception("no")
    for name, value in attributes.items():
        setattr(cause, name, value)
    return OperationalError("INSERT", {}, cause)


@pytest.mark.parametrize(
    "error",
    [
        _error(sqlite_errorname="SQLITE_FULL"),
        _error(sqlite_errorname="SQLITE_BUSY_SNAPSHOT"),
        _error(sqlstate="53100"),
        _error(sqlstate="57P01"),
        _error(),
        DataError("INSERT", {}, Exception("gone"), connection_invalidated=True),
        WaitedTooLong("no turn"),
    ],
)
def test_the_ledgers_own_trouble_passes(error: Exception) -> None:
    assert passing(error) is error


@pytest.mark.parametrize(
    "error",
    [
        None,
        ValueError("a slip"),
        _error(sqlite_errorname="SQLITE_ERROR"),
        _error(sqlstate="54000"),
        DataError("INSERT", {}, Exception("too long")),
    ],
)
def test_what_one_row_alone_can_cause_does_not(error: Exception | None) -> None:
    assert passing(error) is None


class _Large:
    def run(self, job: Job) -> Outcome:
        return self.run_all([job])[0]

    def run_all(self, batch: Sequence[Job]) -> list[Outcome]:
        return [Outcome("duplicate", _fill) for _ in batch]


def _fill(connection: Connection) -> None:
    connection.exec_driver_sql("INSERT INTO facts (name, value) VALUES ('large', zeroblob(4000000))")


def test_a_full_disk_on_which_a_small_row_has_room_sends_nothing_into_quarantine(ledger: Ledger) -> None:
    """The results of a batch find no room, and that they did not, does: as often as that happens."""
    clock = Clock()
    arrive(ledger, "a", "b")
    worker = Worker(ledger, WorkQueue(ledger, "w", clock=clock), {Step.ARRIVE: _Large()})
    with ledger.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one() + 20

    def small(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    event.listen(ledger._engine, "begin", small)
    for _ in range(MAX_ATTEMPTS + 2):
        assert worker.run_once()
        clock.time += 3600.0
    with ledger.read() as connection:
        rows = connection.execute(select(jobs.c.state, jobs.c.attempts, jobs.c.error)).all()
    assert [tuple(row) for row in rows] == [
        ("ready", 0, "the ledger can't be used now: database or disk is full")
    ] * 2


def test_an_error_of_the_ledger_names_no_patient(ledger: Ledger) -> None:
    with pytest.raises(OperationalError) as caught, ledger.write() as connection:
        connection.exec_driver_sql("INSERT INTO nowhere VALUES (?)", ("Doe^Jane",))
    assert "Doe" not in str(caught.value)
