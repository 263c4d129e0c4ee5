"""The work queue: rows with a lease, where a result and the end of its job are one transaction.

A worker claims a job by a lease. Whoever finishes it must still hold the lease: `finish` writes the
result, deletes the job and adds the jobs that follow (`orthanc_al.pipeline`) in one transaction, so that
work may run twice but has its effect once. A worker that is killed lets its lease run out, and another
one takes the job.
"""

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, or_, select, text, update

from orthanc_al.errors import LeaseLostError
from orthanc_al.ledger.engine import Ledger, upsert
from orthanc_al.ledger.schema import jobs
from orthanc_al.observe import Clock, now
from orthanc_al.pipeline import Step, successors

MAX_ATTEMPTS: Final = 8
MAX_DEATHS: Final = 20  # tries that ended with their process: who killed it is not known, so more of them
_BACKOFF_BASE: Final = 2.0
_BACKOFF_CAP: Final = 600.0
_PASSING_WAIT: Final = 30.0
_SKEW: Final = 5.0  # seconds by which the clocks of several machines may differ
_FARTHEST: Final = 86400.0  # seconds; no lease and no wait is longer
_WAITS: Final = text("state = 'ready'")
"""Condition of the index of waiting jobs: as text, since neither many rows at once nor a statement that
PostgreSQL has prepared finds the index by a condition with a parameter in it."""


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job; ``attempts`` counts this one."""

    id: int
    step: Step
    subject: str
    attempts: int
    owner: str


def _writes_nothing(_: Connection) -> None:
    return


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step came to.

    Attributes
    ----------
    name
        A row of `orthanc_al.pipeline.TRANSITIONS` for the step.
    write
        Its effect on the ledger; runs in the transaction that ends the job.
    subjects
        Subject for a following step where it is not this job's own (instance -> study).
    run_at
        When a following step may start (seconds since 1970), at once where it is missing.
    """

    name: str
    write: Callable[[Connection], None] = _writes_nothing
    subjects: dict[Step, str] = field(default_factory=dict)
    run_at: dict[Step, float] = field(default_factory=dict)


def enqueue(connection: Connection, step: Step, subject: str, run_at: float) -> None:
    """Put a job on the queue; where the same one waits already, it waits no longer than to ``run_at``.

    It is never put off: who asked for it to be done sooner may know what this one does not.
    """
    values = {
        "step": step.value,
        "subject": subject,
        "state": "ready",
        "run_at": run_at,
        "attempts": 0,
        "created_at": now(),
    }
    waiting = and_(jobs.c.state == "ready", jobs.c.step == step.value, jobs.c.subject == subject)
    if not upsert(connection, jobs, values, ["step", "subject"], where=_WAITS):
        connection.execute(update(jobs).where(waiting, jobs.c.run_at > run_at).values(run_at=run_at))


def enqueue_new(connection: Connection, step: Step, subjects: Mapping[str, float]) -> None:
    """Put a job on the queue for each subject, at its time, but where one waits already."""
    created_at = now()
    rows = [
        {
            "step": step.value,
            "subject": subject,
            "state": "ready",
            "run_at": run_at,
            "attempts": 0,
            "created_at": created_at,
        }
        for subject, run_at in subjects.items()
    ]
    if rows:
        upsert(connection, jobs, rows, ["step", "subject"], where=_WAITS)


class WorkQueue:
    """The embedded queue, in the ledger itself.

    Parameters
    ----------
    ledger
        Where the rows are.
    owner
        Name of this worker, unique among the living ones.
    lease_seconds
        How long a job may take before another worker may have it.
    clock
        Seconds since 1970; tests pass their own.
    """

    def __init__(self, ledger: Ledger, owner: str, lease_seconds: float = 300.0, clock: Clock = now) -> None:
        self._ledger = ledger
        self._owner = owner
        self._lease = lease_seconds
        self._clock = clock

    def claim(self, steps: Collection[Step]) -> Job | None:
        """Take the job of ``steps`` that has waited longest beyond its time, or None where none is due."""
        with self._ledger.read() as connection:  # most polls find nothing and must not take the write lock
            if connection.execute(self._due(steps)).first() is None:
                return None
        with self._ledger.write() as connection:
            return self._take(connection, steps)

    def _due(self, steps: Collection[Step]) -> Select[Any]:
        time = self._clock()
        due = and_(
            jobs.c.step.in_([step.value for step in steps]),
            or_(
                and_(jobs.c.state == "ready", _has_come(jobs.c.run_at, time)),
                # Made in the future, and never tried: the clock was set back since.
                and_(
                    jobs.c.state == "ready",
                    jobs.c.attempts == 0,
                    jobs.c.created_at.between(time + _SKEW, time + _FARTHEST),
                ),
                and_(jobs.c.state == "running", _has_come(jobs.c.lease_until, time)),
            ),
        )
        return select(jobs).where(due).order_by(jobs.c.run_at, jobs.c.id).limit(1)

    def _take(self, connection: Connection, steps: Collection[Step]) -> Job | None:
        row = connection.execute(self._due(steps).with_for_update(skip_locked=True)).mappings().first()
        if row is None:
            return None
        if row["attempts"] >= MAX_DEATHS:  # the last tries all ended with their process
            _quarantine(connection, row["id"], "the process that ran it died, each time")
            return None
        connection.execute(
            update(jobs)
            .where(jobs.c.id == row["id"])
            .values(
                state="running",
                attempts=row["attempts"] + 1,
                lease_owner=self._owner,
                lease_until=self._clock() + self._lease,
            )
        )
        return Job(row["id"], Step(row["step"]), row["subject"], row["attempts"] + 1, self._owner)

    def extend(self, job: Job) -> None:
        """Hold a long job for another lease.

        Raises
        ------
        LeaseLostError
            Another worker has it.
        """
        with self._ledger.write() as connection:
            held = connection.execute(
                update(jobs).where(_held(job)).values(lease_until=self._clock() + self._lease)
            )
            _check(held.rowcount, job)

    def finish(self, job: Job, outcome: Outcome, then: Collection[Step] = ()) -> Job | None:
        """Write the outcome, end the job, add the jobs that follow and take the next one: all or nothing.

        One transaction where two would be two waits for the disk: of a film's way through the queue they
        were a third.

        Parameters
        ----------
        then
            As `claim`'s ``steps``; empty: no job is taken.

        Raises
        ------
        LeaseLostError
            The lease ran out and another worker has the job; nothing is written.
        """
        with self._ledger.write() as connection:
            _check(connection.execute(delete(jobs).where(_held(job))).rowcount, job)
            outcome.write(connection)
            for step in successors(job.step, outcome.name):
                subject = outcome.subjects.get(step, job.subject)
                enqueue(connection, step, subject, outcome.run_at.get(step, self._clock()))
            return self._take(connection, then) if then else None

    def fail(self, job: Job, error: str, *, retryable: bool, passes: bool = False) -> bool:
        """Put a failed job back with backoff and jitter, or into quarantine; return whether the latter.

        Quarantined jobs wait for `orthanc-al requeue`; ``error`` says why. What ``passes`` (a full disk) is
        not counted as a try of the job.
        """
        final = not (retryable or passes) or (not passes and job.attempts >= MAX_ATTEMPTS)
        delay = _PASSING_WAIT * random.uniform(0.5, 1.0) if passes else _backoff(job.attempts)  # noqa: S311
        with self._ledger.write() as connection:
            if not final and self._waiting_twin(connection, job):
                # The same work was asked for again meanwhile: that row does it.
                connection.execute(delete(jobs).where(_held(job)))
                return False
            connection.execute(
                update(jobs)
                .where(_held(job))
                .values(
                    state="quarantined" if final else "ready",
                    attempts=job.attempts - passes,
                    run_at=self._clock() + delay,
                    error=error[:2000],
                    lease_owner=None,
                    lease_until=None,
                )
            )
        return final

    @staticmethod
    def _waiting_twin(connection: Connection, job: Job) -> bool:
        twin = select(jobs.c.id).where(
            jobs.c.step == job.step.value, jobs.c.subject == job.subject, jobs.c.state == "ready"
        )
        return connection.execute(twin).first() is not None


def release_dead(connection: Connection, prefix: str, lives: Callable[[str], bool]) -> int:
    """Give back the jobs of workers that died, so that nobody waits for the end of their leases.

    At once after the first time, later after a growing wait: what dies together again and again is parted, so
    that a job that kills its process does not take the one beside it into quarantine, and what is killed from
    outside for a while is not given up.

    Parameters
    ----------
    prefix
        Of the owners' names: the workers of this machine and role.
    lives
        Says whether the worker of a name is alive.

    Returns
    -------
    int
        Number of jobs.
    """
    running = select(jobs.c.id, jobs.c.lease_owner, jobs.c.attempts).where(
        jobs.c.state == "running", jobs.c.lease_owner.startswith(prefix, autoescape=True)
    )
    dead = [row for row in connection.execute(running) if not lives(row.lease_owner)]
    for row in dead:
        wait = _backoff(row.attempts) if row.attempts > 1 else 0.0
        # `claim` does the rest when the lease ends: it counts the try. It is nobody's: put off once only.
        given_back = {"lease_until": now() + wait if wait else 0.0, "lease_owner": None}
        connection.execute(update(jobs).where(jobs.c.id == row.id).values(given_back))
    return len(dead)


def requeue(connection: Connection, subject: str | None = None) -> int:
    """Give quarantined jobs (of one subject) another set of attempts; return how many."""
    rows = connection.execute(
        select(jobs.c.id, jobs.c.step, jobs.c.subject).where(
            jobs.c.state == "quarantined", *([jobs.c.subject == subject] if subject else [])
        )
    ).all()
    for row in rows:
        connection.execute(delete(jobs).where(jobs.c.id == row.id))
        enqueue(connection, Step(row.step), row.subject, now())
    return len(rows)


def counts(connection: Connection) -> dict[tuple[str, str], int]:
    """Return how many jobs there are of each (step, state)."""
    query = select(jobs.c.step, jobs.c.state, func.count()).group_by(jobs.c.step, jobs.c.state)
    return {(row[0], row[1]): row[2] for row in connection.execute(query)}


def _backoff(attempts: int) -> float:
    """Return the seconds to wait after so many tries: doubling, capped, with jitter."""
    return min(_BACKOFF_CAP, _BACKOFF_BASE**attempts) * random.uniform(0.5, 1.0)  # noqa: S311


def _has_come(column: ColumnElement[float | None], time: float) -> ColumnElement[bool]:
    """Whether a time has come; one beyond all that is planned is of a clock that was set back since."""
    return or_(column <= time, column > time + _FARTHEST)


def _quarantine(connection: Connection, job_id: int, error: str) -> None:
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(state="quarantined", error=error, lease_owner=None, lease_until=None)
    )


def _held(job: Job) -> ColumnElement[bool]:
    return and_(jobs.c.id == job.id, jobs.c.state == "running", jobs.c.lease_owner == job.owner)


def _check(rows: int, job: Job) -> None:
    if rows != 1:
        raise LeaseLostError(f"{job.step} of {job.subject}: the lease ran out, another worker has the job")


__all__ = [
    "MAX_ATTEMPTS",
    "MAX_DEATHS",
    "Job",
    "Outcome",
    "WorkQueue",
    "counts",
    "enqueue",
    "enqueue_new",
    "release_dead",
    "requeue",
]
