"""What the work queue promises, whatever database it is on.

Each promise is tried on SQLite and on a real PostgreSQL server.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import func, select

from orthanc_al.errors import LeaseLostError
from orthanc_al.ledger import Ledger, Outcome, Worker, WorkQueue, enqueue, facts
from orthanc_al.ledger.queue import MAX_ATTEMPTS, MAX_DEATHS
from orthanc_al.ledger.schema import jobs
from orthanc_al.ledger.waiting import counts, release_dead, requeue
from orthanc_al.pipeline import Step
from tests.support.arriving import arrive
from tests.support.one_by_one import OneByOne

pytestmark = pytest.mark.both_databases


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def put(ledger: Ledger, step: Step, subject: str, run_at: float = 0.0) -> None:
    with ledger.write() as connection:
        enqueue(connection, step, subject, run_at)


def waiting(ledger: Ledger) -> int:
    with ledger.read() as connection:
        return int(connection.execute(select(func.count()).select_from(jobs)).scalar_one())


def test_a_job_asked_for_twice_waits_once(ledger: Ledger) -> None:
    put(ledger, Step.ASSEMBLE, "1.2.3")
    put(ledger, Step.ASSEMBLE, "1.2.3", run_at=50.0)
    assert waiting(ledger) == 1


def test_asking_again_moves_a_waiting_job_forward_and_never_puts_it_off(ledger: Ledger) -> None:
    clock = Clock()
    queue = OneByOne(ledger, "a", clock=clock)
    put(ledger, Step.ASSEMBLE, "1.2.3", run_at=2000.0)
    assert queue.claim({Step.ASSEMBLE}) is None
    put(ledger, Step.ASSEMBLE, "1.2.3", run_at=900.0)
    put(ledger, Step.ASSEMBLE, "1.2.3", run_at=3000.0)
    assert queue.claim({Step.ASSEMBLE}) is not None


def test_a_job_that_runs_can_be_asked_for_again(ledger: Ledger) -> None:
    queue = OneByOne(ledger, "a")
    put(ledger, Step.ASSEMBLE, "1.2.3")
    first = queue.claim({Step.ASSEMBLE})
    assert first is not None
    put(ledger, Step.ASSEMBLE, "1.2.3")
    queue.finish(first, Outcome("unchanged"))
    assert queue.claim({Step.ASSEMBLE}) is not None


def test_what_a_job_asks_for_later_puts_off_nothing_that_was_asked_for_meanwhile(ledger: Ledger) -> None:
    """The last instance came while its study was looked at: nobody waits for the end of the quiet time."""
    clock = Clock()
    queue = OneByOne(ledger, "a", clock=clock)
    put(ledger, Step.ASSEMBLE, "1.2.3", run_at=clock.time)
    looked_at = queue.claim({Step.ASSEMBLE})
    assert looked_at is not None
    put(ledger, Step.ASSEMBLE, "1.2.3", run_at=clock.time)
    queue.finish(looked_at, Outcome("waiting", run_at={Step.ASSEMBLE: clock.time + 30.0}))
    assert waiting(ledger) == 1
    assert queue.claim({Step.ASSEMBLE}) is not None


def test_a_claimed_job_is_nobody_elses_until_its_lease_ends(ledger: Ledger) -> None:
    clock = Clock()
    put(ledger, Step.SCORE, "1.2.3")
    first, second = (OneByOne(ledger, name, 60.0, clock) for name in "ab")
    job = first.claim({Step.SCORE})
    assert job is not None
    assert second.claim({Step.SCORE}) is None
    clock.time += 61
    assert second.claim({Step.SCORE}) is not None
    with pytest.raises(LeaseLostError):
        first.finish(job, Outcome("superseded"))
    first.extend([job])  # what is lost stays lost
    with pytest.raises(LeaseLostError):
        first.finish(job, Outcome("superseded"))


def test_an_extended_lease_holds(ledger: Ledger) -> None:
    clock = Clock()
    put(ledger, Step.RETRAIN, "m")
    first, second = (OneByOne(ledger, name, 60.0, clock) for name in "ab")
    job = first.claim({Step.RETRAIN})
    assert job is not None
    clock.time += 50
    first.extend([job])
    clock.time += 50
    assert second.claim({Step.RETRAIN}) is None


def test_result_end_and_successors_commit_together_or_not_at_all(ledger: Ledger) -> None:
    queue = OneByOne(ledger, "a")
    put(ledger, Step.SCORE, "1.2.3")
    job = queue.claim({Step.SCORE})
    assert job is not None

    def breaks(connection: object) -> None:
        facts.put(connection, "half", "done")  # type: ignore[arg-type]
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        queue.finish(job, Outcome("scored", write=breaks))
    with ledger.read() as connection:
        assert facts.get(connection, "half") is None
        assert counts(connection) == {("score", "running"): 1}
    queue.finish(job, Outcome("scored", write=lambda c: facts.put(c, "whole", "done")))
    with ledger.read() as connection:
        assert facts.get(connection, "whole") == "done"
        assert counts(connection) == {("triage", "ready"): 1}


def test_a_successor_of_another_kind_gets_its_own_subject_and_time(ledger: Ledger) -> None:
    clock = Clock()
    queue = OneByOne(ledger, "a", clock=clock)
    put(ledger, Step.ARRIVE, "instance")
    job = queue.claim({Step.ARRIVE})
    assert job is not None
    queue.finish(job, Outcome("other", subjects={Step.ASSEMBLE: "1.2.3"}, run_at={Step.ASSEMBLE: 1030.0}))
    assert queue.claim({Step.ASSEMBLE}) is None
    clock.time = 1030.0
    found = queue.claim({Step.ASSEMBLE})
    assert found is not None
    assert found.subject == "1.2.3"


@pytest.mark.parametrize(
    ("step", "outcome", "following", "place"),
    [
        (Step.TRIAGE, "placed", Step.SELECT, 5.0),
        (Step.REPORT, "reported", Step.MIRROR, 5.0),
        (Step.SELECT, "unasked", Step.REPORT, 1000.0),
    ],
)
def test_what_follows_a_placed_study_goes_before_the_images_of_what_came_later(
    ledger: Ledger, step: Step, outcome: str, following: Step, place: float
) -> None:
    queue = OneByOne(ledger, "a", clock=Clock())
    put(ledger, step, "1.2.3", run_at=5.0)
    job = queue.claim({step})
    assert job is not None
    queue.finish(job, Outcome(outcome))
    with ledger.read() as connection:
        row = connection.execute(select(jobs.c.step, jobs.c.run_at)).one()
    assert tuple(row) == (following.value, place)


def test_a_failed_job_comes_back_later_and_ends_in_quarantine(ledger: Ledger) -> None:
    clock = Clock()
    queue = OneByOne(ledger, "a", clock=clock)
    put(ledger, Step.MIRROR, "1.2.3")
    for attempt in range(1, MAX_ATTEMPTS + 1):
        job = queue.claim({Step.MIRROR})
        assert job is not None
        assert job.attempts == attempt
        quarantined = queue.fail(job, "Orthanc is away", retryable=True)
        assert quarantined == (attempt == MAX_ATTEMPTS)
        assert queue.claim({Step.MIRROR}) is None
        clock.time += 1000
    with ledger.write() as connection:
        assert counts(connection) == {("mirror", "quarantined"): 1}
        assert requeue(connection) == 1
    clock.time = time.time() + 1
    again = queue.claim({Step.MIRROR})
    assert again is not None
    assert again.attempts == 1


def test_a_job_that_kills_its_worker_each_time_ends_in_quarantine(ledger: Ledger) -> None:
    clock = Clock()
    put(ledger, Step.SCORE_IMAGE, "poison")
    for attempt in range(MAX_DEATHS):
        job = OneByOne(ledger, f"w{attempt}", 60.0, clock).claim({Step.SCORE_IMAGE})
        assert job is not None
        clock.time += 61
    assert OneByOne(ledger, "last", 60.0, clock).claim({Step.SCORE_IMAGE}) is None
    with ledger.read() as connection:
        assert counts(connection) == {("score_image", "quarantined"): 1}


def test_the_jobs_of_dead_workers_are_taken_at_once(ledger: Ledger) -> None:
    for subject in ("a", "b", "c"):
        put(ledger, Step.SCORE, subject)
    owners = ("here/worker-1-0", "here/worker-2-0", "there/worker-1-0")
    for owner in owners:
        assert OneByOne(ledger, owner).claim({Step.SCORE}) is not None
    with ledger.write() as connection:
        assert release_dead(connection, "here/worker-", lambda owner: owner == "here/worker-2-0") == 1
    taken = OneByOne(ledger, "new").claim({Step.SCORE})
    assert taken is not None
    assert (taken.subject, taken.attempts) == ("a", 2)
    assert OneByOne(ledger, "new").claim({Step.SCORE}) is None


def test_what_died_together_twice_is_parted_and_put_off_once(ledger: Ledger) -> None:
    clock = Clock()
    clock.time = time.time()
    put(ledger, Step.SCORE, "1.2.3")
    for number in range(2):
        assert OneByOne(ledger, f"here/worker-{number}-0", clock=clock).claim({Step.SCORE}) is not None
        with ledger.write() as connection:
            assert release_dead(connection, "here/worker-", lambda _: False) == 1
    with ledger.write() as connection:
        assert release_dead(connection, "here/worker-", lambda _: False) == 0
    assert OneByOne(ledger, "new", clock=clock).claim({Step.SCORE}) is None
    clock.time += 5
    job = OneByOne(ledger, "new", clock=clock).claim({Step.SCORE})
    assert job is not None
    assert job.attempts == 3


def test_a_clock_that_is_set_back_holds_no_job_up(ledger: Ledger) -> None:
    clock = Clock()
    clock.time = 1e9 + 400 * 86400  # a machine that starts with a wrong year
    queue = OneByOne(ledger, "a", 60.0, clock)
    put(ledger, Step.ASSEMBLE, "waits", run_at=clock.time)
    put(ledger, Step.SCORE, "held", run_at=clock.time)
    assert queue.claim({Step.SCORE}) is not None
    clock.time = 1e9
    assert {job.subject for job in (queue.claim(set(Step)), queue.claim(set(Step))) if job} == {
        "waits",
        "held",
    }
    assert queue.claim(set(Step)) is None


def test_a_clock_that_is_set_back_a_little_holds_no_new_job_up(ledger: Ledger) -> None:
    clock = Clock()
    clock.time = time.time() - 7200
    put(ledger, Step.ASSEMBLE, "made two hours from now", run_at=clock.time + 7205)
    queue = OneByOne(ledger, "a", 60.0, clock)
    job = queue.claim({Step.ASSEMBLE})
    assert job is not None
    queue.fail(job, "no", retryable=True)
    assert queue.claim({Step.ASSEMBLE}) is None  # what failed waits its time


def test_a_full_disk_is_waited_for_however_long_it_takes(ledger: Ledger) -> None:
    clock = Clock()
    queue = OneByOne(ledger, "a", clock=clock)
    put(ledger, Step.REPORT, "1.2.3")
    for _ in range(3 * MAX_ATTEMPTS):
        job = queue.claim({Step.REPORT})
        assert job is not None
        assert not queue.fail(job, "the disk is full", retryable=True, passes=True)
        assert queue.claim({Step.REPORT}) is None
        clock.time += 31
    assert waiting(ledger) == 1


def test_what_no_retry_helps_is_quarantined_at_once(ledger: Ledger) -> None:
    queue = OneByOne(ledger, "a")
    put(ledger, Step.SCORE, "1.2.3")
    job = queue.claim({Step.SCORE})
    assert job is not None
    assert queue.fail(job, "no", retryable=False)


def test_a_failed_job_that_was_asked_for_again_leaves_it_to_the_new_one(ledger: Ledger) -> None:
    queue = OneByOne(ledger, "a")
    put(ledger, Step.SCORE, "1.2.3")
    job = queue.claim({Step.SCORE})
    assert job is not None
    put(ledger, Step.SCORE, "1.2.3")
    assert not queue.fail(job, "later", retryable=True)
    assert waiting(ledger) == 1
    assert queue.claim({Step.SCORE}) is not None


def test_the_longest_waiting_job_comes_first(ledger: Ledger) -> None:
    queue = OneByOne(ledger, "a")
    put(ledger, Step.SCORE, "late", 20.0)
    put(ledger, Step.SCORE, "early", 10.0)
    job = queue.claim({Step.SCORE})
    assert job is not None
    assert job.subject == "early"


class _Counts:
    """A stage that adds one for each job, in the transaction that ends it."""

    def __init__(self, ledger: Ledger, seconds: float, outcome: str) -> None:
        self._ledger = ledger
        self._seconds = seconds
        self._outcome = outcome

    def run(self, job: object) -> Outcome:
        time.sleep(self._seconds)

        def add(connection: object) -> None:
            done = int(facts.get(connection, "done") or 0)  # type: ignore[arg-type]
            facts.put(connection, "done", str(done + 1))  # type: ignore[arg-type]

        return Outcome(self._outcome, write=add)


class _CountsSome(_Counts):
    """The same, for the first three of a batch."""

    def run_all(self, batch: Sequence[object]) -> Iterator[Outcome]:
        return map(self.run, batch[:3])


def _work(url: str, name: str, step: Step, modality: str) -> None:
    ledger = Ledger(url)
    outcome = "superseded" if step is Step.SCORE else "later"
    counts_all = _CountsSome if modality == "DX" else _Counts
    worker = Worker(
        ledger, WorkQueue(ledger, name, lease_seconds=0.5), {step: counts_all(ledger, 0.01, outcome)}
    )
    while True:
        worker.run_once()


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["", "CT", "DX"])
def test_each_job_has_its_effect_once_though_workers_are_killed(ledger: Ledger, modality: str) -> None:
    """Of studies one by one, of slices by batches, of films by batches of which some are left."""
    total = 60
    step = Step.SCORE_IMAGE if modality else Step.SCORE
    if modality:
        arrive(ledger, *(f"image-{number}" for number in range(total)), step=step, modality=modality)
    else:
        for number in range(total):
            put(ledger, step, f"study-{number}")
    context = multiprocessing.get_context("spawn")
    names = iter(range(1000))

    def hired() -> multiprocessing.process.BaseProcess:
        arguments = (ledger.url, f"w{next(names)}", step, modality)
        return context.Process(target=_work, args=arguments, daemon=True)

    crew = [hired() for _ in range(2)]
    for process in crew:
        process.start()
    deadline = time.monotonic() + 60
    kills = 0
    while waiting(ledger) and time.monotonic() < deadline:
        time.sleep(0.4)
        if kills < 3 and crew[0].pid is not None:
            os.kill(crew[0].pid, signal.SIGKILL)
            kills += 1
            crew.append(hired())
            crew[-1].start()
        crew = crew[1:] + crew[:1]
    for process in crew:
        process.kill()
        process.join()
    with ledger.read() as connection:
        assert facts.get(connection, "done") == str(total)
        assert not counts(connection)


def test_the_next_job_is_taken_in_the_transaction_that_ends_the_last(ledger: Ledger) -> None:
    queue = OneByOne(ledger, "a")
    put(ledger, Step.ASSEMBLE, "1", 1.0)
    put(ledger, Step.ASSEMBLE, "2", 2.0)
    first = queue.claim({Step.ASSEMBLE})
    second = queue.finish(first, Outcome("unchanged"), {Step.ASSEMBLE})
    assert (first.subject, second.subject, second.attempts) == ("1", "2", 1)
    assert OneByOne(ledger, "b").claim({Step.ASSEMBLE}) is None
    assert queue.finish(second, Outcome("unchanged"), {Step.ASSEMBLE}) is None
    assert waiting(ledger) == 0


def test_where_ending_a_job_fails_none_is_taken(ledger: Ledger) -> None:
    clock = Clock()
    slow, quick = (OneByOne(ledger, owner, 10.0, clock) for owner in "ab")
    put(ledger, Step.ASSEMBLE, "1")
    put(ledger, Step.ASSEMBLE, "2", 1.0)
    job = slow.claim({Step.ASSEMBLE})
    clock.time += 20.0
    assert quick.claim({Step.ASSEMBLE}) is not None
    with pytest.raises(LeaseLostError):
        slow.finish(job, Outcome("unchanged"), {Step.ASSEMBLE})
    assert quick.claim({Step.ASSEMBLE}).subject == "2"
