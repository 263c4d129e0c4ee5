"""A new process knows which jobs a dead one of this machine held."""

import os
import subprocess
import sys

from orthanc_al.ledger import Ledger, enqueue
from orthanc_al.pipeline import Step
from orthanc_al.service import owners
from tests.support.one_by_one import OneByOne


def _claim(ledger: Ledger, owner: str, subject: str) -> None:
    with ledger.write() as connection:
        enqueue(connection, Step.SCORE, subject, 0.0)
    assert OneByOne(ledger, owner).claim({Step.SCORE}) is not None


def test_the_jobs_of_the_living_are_left_and_those_of_the_dead_taken(ledger: Ledger) -> None:
    mine = owners.name("worker")
    prefix, pid, started = mine.rpartition("-")[0].partition(str(os.getpid()))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    _claim(ledger, mine, "living")
    _claim(ledger, f"{prefix}{dead.pid}.1-0", "dead")
    # In a container that was started anew this process has the id that its predecessor had.
    _claim(ledger, f"{prefix}{pid}.1-0", "the predecessor's")
    owners.take_over(ledger, "worker")
    queue = OneByOne(ledger, owners.name("worker", 1))
    taken = {job.subject for job in (queue.claim({Step.SCORE}), queue.claim({Step.SCORE})) if job}
    assert taken == {"dead", "the predecessor's"}
    assert queue.claim({Step.SCORE}) is None
    assert started.startswith(".")
