"""The worker's loop stands whatever a stage does."""

import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from orthanc_al.errors import DeviceLostError, OrthancError, UndecodableError
from orthanc_al.ledger import Job, Ledger, Outcome, Worker, WorkQueue, enqueue, log_file
from orthanc_al.ledger.log_file import NotOnDiskError
from orthanc_al.ledger.schema import jobs
from orthanc_al.ledger.waiting import counts, release_dead
from orthanc_al.pipeline import SCORING_STEPS, Step
from tests.support.arriving import arrive
from tests.support.one_by_one import OneByOne


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
            other = OneByOne(ledger, "other", clock=lambda: 1e12)
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
        patched.setattr(WorkQueue, "finish_many", full)
        patched.setattr(WorkQueue, "fail", full)
        with pytest.raises(OperationalError):
            worker.run_once()
        assert _counts(ledger) == {("score", "running"): 1}
        with pytest.raises(OperationalError):
            worker.run_once()
    assert not worker.run_once()  # it waits a little, and is nobody's
    assert _counts(ledger) == {("score", "ready"): 1}


class _Picky(_Stage):
    """Fails for one job of a batch."""

    def __init__(self, error: Exception) -> None:
        super().__init__(Outcome("duplicate"))
        self._error = error

    def run(self, job: Job) -> Outcome:
        if job.subject == "b":
            raise self._error
        return super().run(job)


def _crew_of_three(ledger: Ledger, stage: _Stage, lease: float = 300.0) -> Worker:
    arrive(ledger, "a", "b", "c")
    return Worker(ledger, WorkQueue(ledger, "w", lease), {Step.ARRIVE: stage})


def test_one_bad_job_of_a_batch_takes_no_other_with_it(ledger: Ledger) -> None:
    stage = _Picky(UndecodableError("no pixels"))
    assert _crew_of_three(ledger, stage).run_once()
    assert stage.seen == ["a", "c"]
    assert _counts(ledger) == {("arrive", "quarantined"): 1}


def test_what_can_not_be_written_of_a_batch_is_put_back_and_the_rest_is_written(ledger: Ledger) -> None:
    class Unwritable(_Stage):
        def run(self, job: Job) -> Outcome:
            return Outcome("no such outcome") if job.subject == "b" else Outcome("duplicate")

    assert _crew_of_three(ledger, Unwritable(Outcome("duplicate"))).run_once()
    assert _counts(ledger) == {("arrive", "ready"): 1}


def test_a_whole_batch_that_the_ledger_could_not_take_is_given_back_as_soon_as_it_can(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def full(*_: object, **__: object) -> None:
        calls.append(1)
        raise OperationalError("COMMIT", {}, Exception("database or disk is full"))

    def once(self: WorkQueue, job: Job, error: str, **options: bool) -> bool:
        return fail(self, job, error, **options) if not calls.append(1) and len(calls) < 3 else full()

    fail = WorkQueue.fail
    worker = _crew_of_three(ledger, _Stage(Outcome("duplicate")))
    with monkeypatch.context() as patched:
        patched.setattr(WorkQueue, "finish_many", full)
        patched.setattr(WorkQueue, "fail", once)
        with pytest.raises(OperationalError):  # one is back, then the ledger goes again
            worker.run_once()
    assert _counts(ledger) == {("arrive", "running"): 2, ("arrive", "ready"): 1}
    assert not worker.run_once()
    assert _counts(ledger) == {("arrive", "ready"): 3}


class _AtOnce(_Stage):
    """Does the jobs of a batch together."""

    def run_all(self, jobs: Sequence[Job]) -> list[Outcome]:
        self.seen.append("+".join(job.subject for job in jobs))
        if isinstance(self.result, Exception):
            raise self.result
        return [self.result] * len(jobs)


def test_a_stage_that_can_does_a_batch_at_once_and_what_is_alone_by_itself(ledger: Ledger) -> None:
    stage = _AtOnce(Outcome("duplicate"))
    worker = _crew_of_three(ledger, stage)
    assert worker.run_once()
    arrive(ledger, "d")
    assert worker.run_once()
    assert stage.seen == ["a+b+c", "d"]
    assert not _counts(ledger)


def test_where_a_batch_fails_each_of_it_is_done_by_itself_and_meets_its_own_error(ledger: Ledger) -> None:
    class Poor(_AtOnce):
        def run(self, job: Job) -> Outcome:
            self.seen.append(job.subject)
            if job.subject == "b":
                raise UndecodableError("no pixels")
            return Outcome("duplicate")

    stage = Poor(ZeroDivisionError("slip"))
    assert _crew_of_three(ledger, stage).run_once()
    assert stage.seen == ["a+b+c", "a", "b", "c"]
    assert _counts(ledger) == {("arrive", "quarantined"): 1}


class _Leaving(_AtOnce):
    """Does the first two jobs of a batch."""

    def run_all(self, jobs: Sequence[Job]) -> list[Outcome]:
        return super().run_all(jobs[:2])


def test_what_a_stage_leaves_of_a_batch_waits_as_before(ledger: Ledger) -> None:
    stage = _Leaving(Outcome("duplicate"))
    worker = _crew_of_three(ledger, stage)
    assert worker.run_once()
    assert _counts(ledger) == {("arrive", "ready"): 1}
    assert worker.run_once()
    assert stage.seen == ["a+b", "c"]
    assert not _counts(ledger)


def test_what_a_stage_did_before_it_failed_is_written_and_the_rest_is_done_by_itself(ledger: Ledger) -> None:
    class Breaking(_Stage):
        def run_all(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
            self.seen.append("+".join(job.subject for job in jobs))
            yield self.result
            raise ZeroDivisionError("slip")

    stage = Breaking(Outcome("duplicate"))
    assert _crew_of_three(ledger, stage).run_once()
    assert stage.seen == ["a+b+c", "b", "c"]
    assert not _counts(ledger)


def test_a_stage_that_begins_nothing_loses_nothing(ledger: Ledger) -> None:
    class Idle(_AtOnce):
        def run_all(self, jobs: Sequence[Job]) -> list[Outcome]:
            return []

    assert _crew_of_three(ledger, Idle(Outcome("duplicate"))).run_once()
    assert _counts(ledger) == {("arrive", "ready"): 3}


def test_what_was_left_is_given_back_though_the_ledger_could_not_be_written(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("database or disk is full"))

    worker = _crew_of_three(ledger, _Leaving(Outcome("duplicate")))
    with monkeypatch.context() as patched:
        patched.setattr(WorkQueue, "finish_many", full)
        assert worker.run_once()
    assert _counts(ledger) == {("arrive", "ready"): 3}
    with ledger.read() as connection:
        assert set(connection.execute(select(jobs.c.attempts)).scalars()) == {0}


def test_a_batch_that_takes_long_holds_its_lease(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than half of it has gone by after each job."""

    class Slow(_Stage):
        def run(self, job: Job) -> Outcome:
            time.sleep(0.02)
            return super().run(job)

    held: list[list[str]] = []
    monkeypatch.setattr(WorkQueue, "extend", lambda _, batch: held.append([job.subject for job in batch]))
    assert _crew_of_three(ledger, Slow(Outcome("duplicate")), lease=0.03).run_once()
    assert held == [["a", "b", "c"]] * 2


def test_a_batch_that_failed_after_long_holds_its_lease_before_each_is_done_by_itself(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(_AtOnce):
        def run_all(self, jobs: Sequence[Job]) -> list[Outcome]:
            time.sleep(0.1)
            raise ZeroDivisionError("slip")

    seen: list[str] = []
    monkeypatch.setattr(WorkQueue, "extend", lambda _, batch: seen.append("extended"))
    stage = Slow(Outcome("duplicate"))
    stage.seen = seen
    assert _crew_of_three(ledger, stage, lease=0.15).run_once()
    assert seen[:2] == ["extended", "a"]


def test_a_job_that_takes_longer_than_its_lease_is_held_as_long_as_it_takes(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger can't be reached the first time."""
    held: list[list[str]] = []
    stop, twice = threading.Event(), threading.Event()

    def extend(_: WorkQueue, batch: Sequence[Job]) -> None:
        held.append([job.subject for job in batch])
        if len(held) == 1:
            raise OperationalError("UPDATE", {}, Exception("database is locked"))
        twice.set()

    class Long(_Stage):
        def run(self, job: Job) -> Outcome:
            stop.set()
            assert twice.wait(60.0)
            return super().run(job)

    monkeypatch.setattr(WorkQueue, "extend", extend)
    with ledger.write() as connection:
        enqueue(connection, Step.SCORE, "1.2.3", 0.0)
    stage = Long(Outcome("superseded"))
    Worker(ledger, WorkQueue(ledger, "w", 0.03), {Step.SCORE: stage}).run(stop)
    assert stage.seen == ["1.2.3"]
    assert held[:2] == [["1.2.3"]] * 2
    assert not _counts(ledger)


def test_what_is_paused_while_a_batch_is_done_is_not_taken_after_it(ledger: Ledger) -> None:
    held_back: set[Step] = set()

    class Pausing(_Stage):
        def run(self, job: Job) -> Outcome:
            held_back.add(Step.ARRIVE)
            return super().run(job)

    arrive(ledger, "a", "b", size=80_000_000)  # each by itself
    stage = Pausing(Outcome("duplicate"))
    worker = Worker(ledger, WorkQueue(ledger, "w"), {Step.ARRIVE: stage}, lambda: held_back)
    assert worker.run_once(and_on=True)
    assert not worker.run_once(and_on=True)
    assert stage.seen == ["a"]


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


def test_jobs_that_are_taken_while_the_disk_refuses_are_not_left_to_the_end_of_their_lease(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written is seen, whatever the disk says: the ends of jobs, and that others were taken."""

    def refuse(_: object) -> None:
        raise NotOnDiskError("Input/output error")

    stage = _Stage(Outcome("ineligible"))
    worker = _worker(ledger, stage)
    with ledger.write() as connection:
        enqueue(connection, Step.SCORE, "1.2.4", 1.0)
    monkeypatch.setattr(log_file, "sync", refuse)
    monkeypatch.setattr(log_file, "move", refuse)
    assert worker.run_once(and_on=True)
    assert worker.run_once(and_on=True)
    assert not worker.run_once(and_on=True)
    assert stage.seen == ["1.2.3", "1.2.4"]
    assert _counts(ledger) == {("mirror", "ready"): 2}


# --- the GPU is lost to the process -----------------------------------------------------------------------

LOST = DeviceLostError("CUDA failure 700")


def _tries(ledger: Ledger) -> dict[str, tuple[str, int]]:
    with ledger.read() as connection:
        return {row.subject: (row.state, row.attempts) for row in connection.execute(select(jobs))}


def test_where_the_gpu_is_lost_the_loop_ends_and_the_job_is_left_as_by_a_death(ledger: Ledger) -> None:
    stop = threading.Event()

    class Stops(_Stage):
        def run(self, job: Job) -> Outcome:
            stop.set()  # a loop that went on would end without a word
            return super().run(job)

    stage = Stops(LOST)
    with pytest.raises(DeviceLostError):
        _worker(ledger, stage).run(stop)
    assert stage.seen == ["1.2.3"]
    assert _tries(ledger) == {"1.2.3": ("running", 1)}
    with ledger.write() as connection:
        assert release_dead(connection, "w", lambda _: False) == 1
    assert OneByOne(ledger, "next").claim({Step.SCORE}).attempts == 2


def test_what_was_done_of_a_batch_before_the_gpu_was_lost_is_written_and_none_is_taken(
    ledger: Ledger,
) -> None:
    worker = _crew_of_three(ledger, _Picky(LOST))
    arrive(ledger, "d", size=80_000_000)  # by itself, after the others
    with pytest.raises(DeviceLostError):
        worker.run_once(and_on=True)
    assert _tries(ledger) == {"b": ("running", 1), "d": ("ready", 0)}


def test_what_else_went_wrong_in_a_batch_is_told_all_the_same(ledger: Ledger) -> None:
    class Poor(_Stage):
        def run(self, job: Job) -> Outcome:
            raise LOST if job.subject == "b" else UndecodableError("no pixels")

    with pytest.raises(DeviceLostError):
        _crew_of_three(ledger, Poor(LOST)).run_once()
    assert {subject: state for subject, (state, _) in _tries(ledger).items()} == {
        "a": "quarantined",
        "b": "running",
        "c": "quarantined",
    }


def test_a_batch_that_the_gpu_is_lost_in_is_not_begun_again(ledger: Ledger) -> None:
    """Each would be decoded in vain; which of them it was shows when each is alone."""

    class Breaking(_Stage):
        def run_all(self, batch: Sequence[Job]) -> Iterator[Outcome]:
            yield Outcome("duplicate")
            raise LOST

    stage = Breaking(Outcome("duplicate"))
    with pytest.raises(DeviceLostError):
        _crew_of_three(ledger, stage).run_once()
    assert not stage.seen
    assert _tries(ledger) == {"b": ("running", 1), "c": ("running", 1)}
