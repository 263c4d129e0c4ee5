"""The worker's loop stands whatever a stage does."""

import threading

import pytest
from sqlalchemy.exc import OperationalError

from orthanc_al.errors import OrthancError, UndecodableError
from orthanc_al.ledger import Job, Ledger, Outcome, Worker, WorkQueue, enqueue
from orthanc_al.ledger.queue import counts
from orthanc_al.pipeline import SCORING_STEPS, Step


class _Stage:
    def __init__(self, result: Outcome | Exception) -> None:
        self.result = result
        self.seen: list[str] = []

    def run(self, job: Job) -> Outcome:
        self.seen.append(job.subject)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def _worker(ledger: Ledger, stage: _Stage, **options: object) -> Worker:
    with ledger.write() as connection:
        enqueue(connection, Step.SCORE, "1.2.3", 0.0)
    return Worker(ledger, WorkQueue(ledger, "w"), {Step.SCORE: stage}, **options)  # type: ignore[arg-type]


def _counts(ledger: Ledger) -> dict[tuple[str, str], int]:
    with ledger.read() as connection:
        return counts(connection)


def test_a_job_is_done_once(ledger: Ledger) -> None:
    stage = _Stage(Outcome("superseded"))
    worker = _worker(ledger, stage)
    assert worker.run_once()
    assert not worker.run_once()
    assert stage.seen == ["1.2.3"]


def test_an_error_that_a_retry_may_cure_puts_the_job_back(ledger: Ledger) -> None:
    assert _worker(ledger, _Stage(OrthancError("away"))).run_once()
    assert _counts(ledger) == {("score", "ready"): 1}


def test_an_error_that_no_retry_cures_is_quarantined(ledger: Ledger) -> None:
    assert _worker(ledger, _Stage(UndecodableError("no pixels"))).run_once()
    assert _counts(ledger) == {("score", "quarantined"): 1}


def test_a_slip_of_the_program_does_not_stop_the_worker(ledger: Ledger) -> None:
    assert _worker(ledger, _Stage(ZeroDivisionError("slip"))).run_once()
    assert _counts(ledger) == {("score", "ready"): 1}


def test_an_outcome_that_the_table_does_not_know_does_not_lose_the_job(ledger: Ledger) -> None:
    assert _worker(ledger, _Stage(Outcome("no such outcome"))).run_once()
    assert _counts(ledger) == {("score", "ready"): 1}


def test_a_lost_lease_drops_the_result(ledger: Ledger) -> None:
    class Slow(_Stage):
        def run(self, job: Job) -> Outcome:
            other = WorkQueue(ledger, "other", clock=lambda: 1e12)
            assert other.claim({Step.SCORE}) is not None
            return super().run(job)

    assert _worker(ledger, Slow(Outcome("scored"))).run_once()
    assert _counts(ledger) == {("score", "running"): 1}


def test_a_job_that_the_ledger_could_not_take_back_is_given_back_as_soon_as_it_can(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("database or disk is full"))

    worker = _worker(ledger, _Stage(Outcome("superseded")))
    with monkeypatch.context() as patched:
        patched.setattr(WorkQueue, "finish", full)
        patched.setattr(WorkQueue, "fail", full)
        with pytest.raises(OperationalError):
            worker.run_once()
        assert _counts(ledger) == {("score", "running"): 1}
        with pytest.raises(OperationalError):
            worker.run_once()
    assert not worker.run_once()  # it waits a little, and is nobody's
    assert _counts(ledger) == {("score", "ready"): 1}


def test_paused_steps_are_not_claimed(ledger: Ledger) -> None:
    stage = _Stage(Outcome("scored"))
    assert not _worker(ledger, stage, held_back=lambda: SCORING_STEPS).run_once()
    assert not stage.seen


def test_the_loop_ends_when_told_to(ledger: Ledger) -> None:
    stop = threading.Event()

    class Stops(_Stage):
        def run(self, job: Job) -> Outcome:
            stop.set()
            return super().run(job)

    stage = Stops(Outcome("superseded"))
    _worker(ledger, stage).run(stop)
    assert stage.seen == ["1.2.3"]
