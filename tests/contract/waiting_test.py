"""What waits, and is hurried or waited for, on SQLite and on PostgreSQL."""

import pytest
from sqlalchemy import select

from orthanc_al.ledger import Ledger, Outcome, waiting
from orthanc_al.ledger.schema import jobs
from orthanc_al.pipeline import Step
from tests.contract.work_queue_test import Clock, put
from tests.support.arriving import arrive
from tests.support.one_by_one import OneByOne

pytestmark = pytest.mark.both_databases


def hurry(ledger: Ledger, time: float) -> None:
    with ledger.write() as connection:
        waiting.hurry(connection, Step.SCORE, "1.2", time)


def times(ledger: Ledger) -> list[float]:
    with ledger.read() as connection:
        query = select(jobs.c.run_at).where(jobs.c.state == "ready").order_by(jobs.c.subject)
        return list(connection.execute(query).scalars())


def test_what_waits_for_its_time_is_hurried_and_what_nobody_asked_for_is_not_made(ledger: Ledger) -> None:
    hurry(ledger, 5.0)
    assert times(ledger) == []
    put(ledger, Step.SCORE, "1.2", run_at=2000.0)
    put(ledger, Step.SCORE, "1.3", run_at=3000.0)
    hurry(ledger, 5.0)
    assert times(ledger) == [5.0, 3000.0]


def test_what_runs_is_done_again_at_once_though_it_meant_to_wait(ledger: Ledger) -> None:
    """Its last image is scored while it looks: it must not wait for what is there already."""
    clock = Clock()
    queue = OneByOne(ledger, "a", clock=clock)
    put(ledger, Step.SCORE, "1.2")
    job = queue.claim({Step.SCORE})
    hurry(ledger, clock.time)
    queue.finish(job, Outcome("waiting", run_at={Step.SCORE: clock.time + 60.0}))
    assert queue.claim({Step.SCORE}).subject == "1.2"


def test_what_runs_and_needs_no_second_look_gets_none(ledger: Ledger) -> None:
    clock = Clock()
    queue = OneByOne(ledger, "a", clock=clock)
    put(ledger, Step.SCORE, "1.2")
    job = queue.claim({Step.SCORE})
    hurry(ledger, clock.time)
    assert OneByOne(ledger, "b", clock=clock).claim({Step.SCORE}) is None
    queue.finish(job, Outcome("scored"))
    with ledger.read() as connection:
        assert waiting.counts(connection) == {("triage", "ready"): 1}


def test_a_first_try_is_waited_for_and_no_later_one(ledger: Ledger) -> None:
    clock = Clock()
    queue = OneByOne(ledger, "a", 60.0, clock)

    def busy(study: str = "1.2") -> bool:
        with ledger.read() as connection:
            return waiting.is_in_first_try(connection, Step.SCORE_IMAGE, study, clock.time)

    assert not busy()
    arrive(ledger, "one", step=Step.SCORE_IMAGE)
    assert busy()
    assert not busy("1.3")
    job = queue.claim({Step.SCORE_IMAGE})
    assert busy()
    clock.time += 61.0  # its worker died
    assert not busy()
    clock.time -= 61.0
    queue.fail(job, "no", retryable=True)
    assert not busy()
    clock.time += 10.0
    assert queue.claim({Step.SCORE_IMAGE}) is not None
    assert not busy()
