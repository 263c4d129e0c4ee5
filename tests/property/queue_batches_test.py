"""Whatever workers take, finish, leave or die with: each job has its effect once, and none is put off."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select

from orthanc_al.ledger import Job, Ledger, Outcome, WorkQueue, enqueue, facts
from orthanc_al.ledger.schema import jobs
from orthanc_al.pipeline import Step
from tests.support.arriving import arrive

FILMS = 40
LEASE = 10.0

# Who does what: finish so many of the batch and leave the rest, ask again for the last one, or die.
turns = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["finish", "ask again", "die"]), st.integers(0, 8)),
    max_size=25,
)


class _Clock:
    time = 1000.0

    def __call__(self) -> float:
        return self.time


def _counted(job: Job) -> Outcome:
    def write(connection: Connection) -> None:
        done = int(facts.get(connection, job.subject) or 0)
        facts.put(connection, job.subject, str(done + 1))

    return Outcome("scored", write)


@pytest.fixture(scope="session")
def fresh(_fresh_ledger: Path) -> Path:
    """An empty ledger, to be copied for each example."""
    return _fresh_ledger


@settings(max_examples=25, deadline=None)
@given(turns)
def test_each_film_has_its_effect_once_and_none_waits_longer(
    fresh: Path, said: list[tuple[str, str, int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(fresh, Path(folder) / "ledger.sqlite")
        ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
        try:
            _play(ledger, said)
        finally:
            ledger.close()


def _times(ledger: Ledger) -> dict[str, float]:
    """Return when each film may be scored."""
    with ledger.read() as connection:
        rows = connection.execute(select(jobs.c.subject, func.min(jobs.c.run_at)).group_by(jobs.c.subject))
        return {row[0]: row[1] for row in rows}


def _play(ledger: Ledger, said: list[tuple[str, str, int]]) -> None:
    clock = _Clock()
    ids = [f"f{number:02}" for number in range(FILMS)]
    arrive(ledger, *ids, step=Step.SCORE_IMAGE, modality="DX")
    first = _times(ledger)
    queues = {name: WorkQueue(ledger, name, LEASE, clock) for name in "ab"}
    again: Counter[str] = Counter()
    for who, what, many in said:
        queue = queues[who]
        batch = queue.claim_many({Step.SCORE_IMAGE})
        if what == "die" or not batch:
            clock.time += LEASE + 1.0
            continue
        if what == "ask again":
            again[batch[-1].subject] += 1
            with ledger.write() as connection:
                enqueue(connection, Step.SCORE_IMAGE, batch[-1].subject, clock.time)
        done = batch[: max(1, many)]
        finished = queue.finish_many([(job, _counted(job)) for job in done], (), batch[len(done) :])
        assert finished.refused == []
    clock.time += LEASE + 1.0
    late = {one for one, at in _times(ledger).items() if at > first[one]} - again.keys()
    assert late == set()
    while batch := queues["a"].claim_many({Step.SCORE_IMAGE}):
        queues["a"].finish_many([(job, _counted(job)) for job in batch])
    with ledger.read() as connection:
        effects = {one: int(facts.get(connection, one) or 0) for one in ids}
        assert connection.execute(select(func.count()).select_from(jobs)).scalar_one() == 0
    assert {one: done for one, done in effects.items() if not 1 <= done <= 1 + again[one]} == {}
