"""What the work queue promises of jobs that are taken together, on SQLite and on PostgreSQL."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import OperationalError

from orthanc_al.domain import ImageScore
from orthanc_al.domain.header import Header
from orthanc_al.errors import LeaseLostError
from orthanc_al.ledger import Job, Ledger, Outcome, WorkQueue, enqueue, facts, predictions, studies
from orthanc_al.ledger import queue as queue_module
from orthanc_al.ledger.batches import FILMS, MOST, REPORTS, films_in_time
from orthanc_al.ledger.predictions import ScoredImage
from orthanc_al.ledger.schema import instances, jobs
from orthanc_al.ledger.schema import studies as study_table
from orthanc_al.ledger.waiting import counts, release_dead
from orthanc_al.pipeline import Step
from tests.contract.work_queue_test import Clock
from tests.support.arriving import SLICE, arrive

pytestmark = pytest.mark.both_databases


def subjects(claimed: list[Job]) -> list[str]:
    return [job.subject for job in claimed]


def test_headers_are_looked_at_together_oldest_first_and_not_too_many(ledger: Ledger) -> None:
    queue = WorkQueue(ledger, "a")
    ids = [f"i{number:02}" for number in range(MOST + 3)]
    arrive(ledger, *ids)
    first = queue.claim_many({Step.ARRIVE})
    assert subjects(first) == ids[:MOST]
    assert {job.attempts for job in first} == {1}
    assert subjects(WorkQueue(ledger, "b").claim_many({Step.ARRIVE})) == ids[MOST:]
    assert queue.claim_many({Step.ARRIVE}) == []


@pytest.mark.parametrize(
    ("steps", "waits"),
    [((Step.ARRIVE, Step.SCORE_IMAGE), False), ((Step.SELECT,), True), ((Step.ARRIVE, Step.REPORT), True)],
)
def test_what_a_power_cut_takes_is_done_again_or_was_waited_for(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, steps: tuple[Step, ...], waits: bool
) -> None:
    outcomes = {
        Step.ARRIVE: "unusable",
        Step.SCORE_IMAGE: "later",
        Step.SELECT: "superseded",
        Step.REPORT: "superseded",
    }
    queue = WorkQueue(ledger, "a")
    for step in steps:
        arrive(ledger, f"of {step}", step=step)
    claimed = [job for step in steps for job in queue.claim_many({step})]
    seen: list[bool] = []
    write = ledger.write

    def spied(*, forced: bool = True) -> AbstractContextManager[Connection]:
        seen.append(forced)
        return write(forced=forced)

    monkeypatch.setattr(ledger, "write", spied)
    queue.extend(claimed)
    queue.finish_many([(job, Outcome(outcomes[job.step])) for job in claimed])
    assert seen == [False, waits]


def test_of_a_worker_that_has_just_begun_the_tries_are_counted_surely(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, seen = ledger.write, []

    def spied(*, forced: bool = True) -> AbstractContextManager[Connection]:
        seen.append(forced)
        return write(forced=forced)

    monkeypatch.setattr(ledger, "write", spied)
    for seconds in (3600.0, 0.0):
        monkeypatch.setattr(queue_module, "_FIRST_SECONDS", seconds)
        arrive(ledger, *(f"{number} {seconds}" for number in range(2)), size=FILM)
        seen.clear()
        queue = WorkQueue(ledger, "a")
        batch = queue.claim_many({Step.ARRIVE})
        batch = queue.finish_many([(job, Outcome("unusable")) for job in batch], {Step.ARRIVE}).following
        assert len(batch) == 1
        queue.finish_many([(job, Outcome("unusable")) for job in batch])
        assert seen == [seconds > 0, seconds > 0, False]


def test_slices_are_scored_with_those_of_their_study_alone(ledger: Ledger) -> None:
    arrive(ledger, "a1", "a2", step=Step.SCORE_IMAGE, study="1.2.1")
    arrive(ledger, "b1", "b2", step=Step.SCORE_IMAGE, study="1.2.2")
    queue = WorkQueue(ledger, "a")
    assert [sorted(subjects(queue.claim_many({Step.SCORE_IMAGE}))) for _ in range(2)] == [
        ["a1", "a2"],
        ["b1", "b2"],
    ]


@pytest.mark.parametrize(("modality", "size"), [("DX", SLICE), ("CT", 80_000_000)])
def test_films_and_large_objects_are_for_a_worker_each(ledger: Ledger, modality: str, size: int) -> None:
    arrive(ledger, "a", "b", step=Step.SCORE_IMAGE, modality=modality, size=size)
    queue = WorkQueue(ledger, "a")
    assert [subjects(queue.claim_many({Step.SCORE_IMAGE})) for _ in range(3)] == [["a"], ["b"], []]


FILM = 15_000_000
"""Bytes."""


def films(ledger: Ledger, count: int, *, first: int = 0) -> list[str]:
    """Take films in, each a study of its own."""
    ids = [f"f{number:02}" for number in range(first, first + count)]
    for one in ids:
        arrive(ledger, one, step=Step.SCORE_IMAGE, modality="DX", size=FILM, study=f"1.2.{one}")
    return ids


def scores(queue: WorkQueue, batch: list[Job], left: int = 0) -> list[Job]:
    """Finish a batch but for what is ``left`` of it, and take what comes next."""
    done = [(job, Outcome("scored")) for job in batch[: len(batch) - left]]
    return queue.finish_many(done, {Step.SCORE_IMAGE}, batch[len(batch) - left :]).following


def test_of_many_films_as_many_are_taken_as_there_was_time_for(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By how long the last ones took, and never more than the network takes at once."""
    clock = Clock()
    monkeypatch.setattr(queue_module, "monotonic", clock)
    ids = films(ledger, 60)
    queue = WorkQueue(ledger, "a")
    taken = [queue.claim_many({Step.SCORE_IMAGE})]
    for seconds, left in ((0.1, 0), (0.15, 0), (0.25, 2), (0.01, 0), (0.7, 0), (0.0, 0)):
        clock.time += seconds
        taken.append(scores(queue, taken[-1], left))
    assert [len(batch) for batch in taken] == [1, 2, 3, 1, FILMS, 2, FILMS]
    assert subjects(taken[3]) == [ids[4]]


def test_the_wait_for_a_ledger_that_others_write_makes_no_batch_smaller(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would make more transactions of the same work, and others wait for each."""
    clock = Clock()
    monkeypatch.setattr(queue_module, "monotonic", clock)
    films(ledger, 60)
    queue = WorkQueue(ledger, "a")
    write = ledger.write

    def waits(*, forced: bool = True) -> AbstractContextManager[Connection]:
        clock.time += 30.0
        return write(forced=forced)

    monkeypatch.setattr(ledger, "write", waits)
    taken = queue.claim_many({Step.SCORE_IMAGE})
    clock.time += 0.01
    assert len(scores(queue, taken)) == FILMS


def test_how_many_films_there_is_time_for() -> None:
    assert [films_in_time(films, seconds) for films, seconds in ((1, 0.7), (3, 0.2), (8, 0.1), (1, 0.0))] == [
        1,
        3,
        FILMS,
        FILMS,
    ]


def test_no_worker_takes_films_that_another_could_begin(ledger: Ledger) -> None:
    films(ledger, 9)
    queue = WorkQueue(ledger, "a")
    batch = queue.claim_many({Step.SCORE_IMAGE})
    sizes = []
    while batch:
        sizes.append(len(batch))
        batch = scores(queue, batch)
    assert sizes == [1, 2, 2, 1, 1, 1, 1]  # of 7 that wait behind the first it takes one, of 3 none


def test_a_film_that_was_tried_before_is_taken_beside_none(ledger: Ledger) -> None:
    ids = films(ledger, 20)
    with ledger.write() as connection:
        connection.execute(update(jobs).where(jobs.c.subject.in_([ids[0], ids[2]])).values(attempts=1))
    queue = WorkQueue(ledger, "a")
    alone = queue.claim_many({Step.SCORE_IMAGE})
    beside_it = scores(queue, alone)
    assert (subjects(alone), subjects(beside_it)) == ([ids[0]], [ids[1], *ids[3:7]])


def test_slices_of_another_study_are_not_taken_with_films(ledger: Ledger) -> None:
    arrive(ledger, *(f"s{number:02}" for number in range(8)), step=Step.SCORE_IMAGE)
    (film,) = films(ledger, 1)
    with ledger.write() as connection:
        connection.execute(update(jobs).where(jobs.c.subject == film).values(run_at=0.5))
    queue = WorkQueue(ledger, "a")
    queue._at_once = 8
    assert subjects(queue.claim_many({Step.SCORE_IMAGE})) == [film]


def test_what_is_left_of_a_batch_waits_as_if_it_had_not_been_taken(ledger: Ledger) -> None:
    ids = films(ledger, 20)
    with ledger.write() as connection:
        connection.execute(update(jobs).values(created_at=7.0))
    queue = WorkQueue(ledger, "a")
    queue._at_once = 3
    batch = queue.claim_many({Step.SCORE_IMAGE})
    assert subjects(batch) == ids[:3]
    before = rows(ledger, ids[3])
    queue.finish_many([(batch[0], Outcome("scored"))], left=batch[1:])
    assert [rows(ledger, one) for one in ids[:3]] == [[], before, before]


@pytest.mark.parametrize("asked", [0.5, 5.0], ids=["sooner", "later"])
def test_what_is_left_and_was_asked_for_again_waits_once_and_no_longer(ledger: Ledger, asked: float) -> None:
    ids = films(ledger, 20)
    queue = WorkQueue(ledger, "a")
    queue._at_once = 3
    batch = queue.claim_many({Step.SCORE_IMAGE})
    with ledger.write() as connection:
        enqueue(connection, Step.SCORE_IMAGE, ids[1], asked)
    queue.finish_many([(batch[0], Outcome("scored"))], left=batch[1:])
    ((state, run_at, attempts, *_),) = rows(ledger, ids[1])
    assert (state, run_at, attempts) == ("ready", min(asked, 1.0), 0)


def test_what_was_left_and_lost_is_another_workers(ledger: Ledger) -> None:
    ids = films(ledger, 20)
    queue = WorkQueue(ledger, "a")
    queue._at_once = 3
    batch = queue.claim_many({Step.SCORE_IMAGE})
    with ledger.write() as connection:
        connection.execute(update(jobs).where(jobs.c.subject == ids[1]).values(lease_owner="another"))
    lost = rows(ledger, ids[1])
    queue.finish_many([(batch[0], Outcome("scored"))], left=batch[1:])
    assert rows(ledger, ids[1]) == lost


def test_what_is_left_is_put_back_though_an_outcome_is_refused(ledger: Ledger) -> None:
    ids = films(ledger, 20)
    queue = WorkQueue(ledger, "a")
    queue._at_once = 3
    batch = queue.claim_many({Step.SCORE_IMAGE})
    finished = queue.finish_many([(batch[0], Outcome("no such outcome"))], {Step.SCORE_IMAGE}, batch[1:])
    assert subjects([job for job, _ in finished.refused]) == ids[:1]
    assert [rows(ledger, one)[0][0] for one in ids[:3]] == ["running", "ready", "ready"]


def complete(ledger: Ledger, *ids: str, modality: str = "DX", scored: bool = True) -> list[str]:
    """Have studies of an image each wait for ``score``; return their UIDs."""
    uids = [f"1.2.{one}" for one in ids]
    for one, uid in zip(ids, uids, strict=True):
        arrive(ledger, one, step=Step.SCORE_IMAGE, modality=modality, study=uid)
        with ledger.write() as connection:
            connection.execute(delete(jobs).where(jobs.c.subject == one))
            connection.execute(update(instances).where(instances.c.id == one).values(kind="image"))
            header = Header(uid, f"{uid}.1", "1.2.840", f"1.2.{one}", modality=modality)
            studies.arrive(connection, header, "patient", 1.0, 1, image=True)
            if scored:
                score = ImageScore(one, 1, np.zeros(1, np.float32), np.zeros(2, np.float32), (None,))
                predictions.put_image_scores(connection, [ScoredImage(score, "d" * 64)])
            enqueue(connection, Step.SCORE, uid, 1.0)
    return uids


def test_films_whose_images_are_scored_are_put_together_for_several_studies(ledger: Ledger) -> None:
    uids = complete(ledger, *(f"{number:02}" for number in range(FILMS + 2)))
    queue = WorkQueue(ledger, "a")
    assert subjects(queue.claim_many({Step.SCORE})) == uids[:FILMS]
    assert subjects(queue.claim_many({Step.SCORE})) == uids[FILMS:]


@pytest.mark.parametrize(("modality", "scored"), [("CT", True), ("DX", False)])
def test_a_study_that_takes_long_is_put_together_by_itself(
    ledger: Ledger, modality: str, scored: bool
) -> None:
    """Slices are many; an image that has no score yet has to be decoded."""
    first, second = complete(ledger, "a", "b")
    (long,) = complete(ledger, "c", modality=modality, scored=scored)
    queue = WorkQueue(ledger, "a")
    assert [subjects(queue.claim_many({Step.SCORE})) for _ in range(2)] == [[first, second], [long]]
    (long,) = complete(ledger, "d", modality=modality, scored=scored)
    (quick,) = complete(ledger, "e")
    assert [subjects(queue.claim_many({Step.SCORE})) for _ in range(2)] == [[long], [quick]]


@pytest.mark.parametrize(
    ("step", "most"), [(Step.TRIAGE, FILMS), (Step.SELECT, FILMS), (Step.REPORT, REPORTS), (Step.MIRROR, 1)]
)
def test_what_follows_a_score_is_done_for_some_studies_and_written_at_once(
    ledger: Ledger, step: Step, most: int
) -> None:
    """The oldest first. What calls an Orthanc is done one by one: others could be waiting for its answer."""
    uids = [f"{number:02}" for number in range(most + 1)]
    with ledger.write() as connection:
        for number, uid in enumerate(uids):
            enqueue(connection, step, uid, 1.0 + number)
            enqueue(connection, Step.SCORE, uid, 1.0 + number)
    queue = WorkQueue(ledger, "a")
    assert [subjects(queue.claim_many({step})) for _ in range(2)] == [uids[:most], uids[most:]]


def rows(ledger: Ledger, subject: str) -> list[tuple[object, ...]]:
    """Return what the queue says of a subject."""
    columns = [jobs.c[name] for name in ("state", "run_at", "attempts", "created_at", "lease_owner")]
    with ledger.read() as connection:
        return [tuple(row) for row in connection.execute(select(*columns).where(jobs.c.subject == subject))]


def test_what_is_large_is_taken_beside_nothing_small(ledger: Ledger) -> None:
    arrive(ledger, "small", "small too")
    arrive(ledger, "large", size=80_000_000)
    queue = WorkQueue(ledger, "a")
    assert [sorted(subjects(queue.claim_many({Step.ARRIVE}))) for _ in range(2)] == [
        ["small", "small too"],
        ["large"],
    ]


def test_what_waits_for_its_time_is_not_taken_along(ledger: Ledger) -> None:
    arrive(ledger, "now", "later")
    clock = Clock()
    clock.time = 1.5
    assert subjects(WorkQueue(ledger, "a", clock=clock).claim_many({Step.ARRIVE})) == ["now"]


def test_what_was_tried_before_is_alone_so_that_it_takes_its_neighbours_with_it_once(ledger: Ledger) -> None:
    """One of them kills the process: each is then tried by itself, and one alone dies again."""
    ids = ["a", "b", "c"]
    arrive(ledger, *ids)
    assert subjects(WorkQueue(ledger, "here/worker-1-0").claim_many({Step.ARRIVE})) == ids
    with ledger.write() as connection:
        assert release_dead(connection, "here/worker-", lambda _: False) == 3
    arrive(ledger, "new")
    queue = WorkQueue(ledger, "here/worker-2-0")
    claimed = [queue.claim_many({Step.ARRIVE}) for _ in range(4)]
    assert all(len(batch) == 1 for batch in claimed)
    assert {batch[0].subject: batch[0].attempts for batch in claimed} == {"a": 2, "b": 2, "c": 2, "new": 1}


def test_a_failed_one_comes_back_alone(ledger: Ledger) -> None:
    clock = Clock()
    queue = WorkQueue(ledger, "a", clock=clock)
    arrive(ledger, "a", "b")
    failed, _ = queue.claim_many({Step.ARRIVE})
    queue.fail(failed, "no", retryable=True)
    clock.time += 3.0
    arrive(ledger, "c")
    assert sorted(subjects(queue.claim_many({Step.ARRIVE}))) in (["a"], ["c"])
    assert sorted(subjects(queue.claim_many({Step.ARRIVE}))) in (["a"], ["c"])


def test_results_of_a_batch_commit_together_and_what_follows_is_asked_for_once(ledger: Ledger) -> None:
    queue = WorkQueue(ledger, "a")
    arrive(ledger, "a", "b", "c")
    batch = queue.claim_many({Step.ARRIVE})
    done = [
        (
            job,
            Outcome(
                "image", _notes(job.subject), subjects={Step.ASSEMBLE: "1.2"}, run_at={Step.ASSEMBLE: at}
            ),
        )
        for job, at in zip(batch, (30.0, 10.0, 20.0), strict=True)
    ]
    assert queue.finish_many(done).refused == []
    with ledger.read() as connection:
        assert [facts.get(connection, one) for one in "abc"] == ["done"] * 3
        assert counts(connection) == {("score_image", "ready"): 3, ("assemble", "ready"): 1}
        (run_at,) = connection.execute(select(jobs.c.run_at).where(jobs.c.step == "assemble")).scalars()
    assert run_at == 10.0


@pytest.mark.parametrize("what", ["a slip", "a row that breaks a rule", "an unknown outcome", "a lost lease"])
def test_one_that_can_not_be_written_takes_no_results_of_others_along_and_is_told(
    ledger: Ledger, what: str
) -> None:
    clock = Clock()
    queue = WorkQueue(ledger, "a", 60.0, clock)
    arrive(ledger, "a", "b", "c")
    batch = queue.claim_many({Step.ARRIVE})
    if what == "a lost lease":
        with ledger.write() as connection:
            connection.execute(update(jobs).where(jobs.c.subject == "b").values(lease_owner="another"))

    def breaks(connection: Connection) -> None:
        facts.put(connection, "b", "half")
        if what == "a row that breaks a rule":
            connection.execute(insert(jobs).values(step=None))
        raise RuntimeError("a slip")

    odd = Outcome("no such outcome" if what == "an unknown outcome" else "duplicate", breaks)
    done = [(job, odd if job.subject == "b" else Outcome("duplicate", _notes(job.subject))) for job in batch]
    finished = queue.finish_many(done, {Step.ARRIVE})
    assert [job.subject for job, _ in finished.refused] == ["b"]
    assert isinstance(finished.refused[0][1], LeaseLostError) == (what == "a lost lease")
    assert finished.following == []
    with ledger.read() as connection:
        assert [facts.get(connection, one) for one in "abc"] == ["done", None, "done"]
        assert counts(connection) == {("arrive", "running"): 1}


def test_where_the_ledger_itself_fails_nothing_of_a_batch_is_written(ledger: Ledger) -> None:
    queue = WorkQueue(ledger, "a")
    arrive(ledger, "a", "b")

    def full(_: Connection) -> None:
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    first, second = queue.claim_many({Step.ARRIVE})
    with pytest.raises(OperationalError):
        queue.finish_many([(first, Outcome("duplicate", _notes("a"))), (second, Outcome("duplicate", full))])
    with ledger.read() as connection:
        assert facts.get(connection, "a") is None
        assert counts(connection) == {("arrive", "running"): 2}


def test_the_next_batch_is_taken_by_the_queues_order_in_the_transaction_that_ends_the_last(
    ledger: Ledger,
) -> None:
    queue = WorkQueue(ledger, "a")
    slices = [f"s{number:02}" for number in range(2 * MOST)]
    arrive(ledger, *slices, step=Step.SCORE_IMAGE)
    batch = queue.claim_many({Step.SCORE_IMAGE})
    arrive(ledger, "film", step=Step.SCORE_IMAGE, study="1.3", modality="DX")
    with ledger.write() as connection:
        connection.execute(update(jobs).where(jobs.c.subject == "film").values(run_at=0.5))  # looks urgent
    following = queue.finish_many([(job, Outcome("later")) for job in batch], {Step.SCORE_IMAGE}).following
    assert subjects(following) == ["film"]


def test_the_lease_of_a_whole_batch_is_extended(ledger: Ledger) -> None:
    clock = Clock()
    arrive(ledger, "a", "b")
    first, second = (WorkQueue(ledger, name, 60.0, clock) for name in "ab")
    batch = first.claim_many({Step.ARRIVE})
    clock.time += 50
    first.extend(batch)
    clock.time += 50
    assert second.claim_many({Step.ARRIVE}) == []


def test_a_row_that_is_refused_is_not_in_the_errors_text(ledger: Ledger) -> None:
    queue = WorkQueue(ledger, "a")
    arrive(ledger, "a")
    row = {"study_instance_uid": "1.2", "patient_name": "Doe^Jane"}  # and nothing of what it must have
    outcome = Outcome("duplicate", lambda connection: connection.execute(insert(study_table).values(**row)))
    ((_, error),) = queue.finish_many([(queue.claim_many({Step.ARRIVE})[0], outcome)]).refused
    assert "null" in str(error).lower()
    assert "Doe" not in f"{error} {error.__cause__}"


def _notes(name: str) -> Callable[[Connection], None]:
    return lambda connection: facts.put(connection, name, "done")
