"""The work queue: rows with a lease, where a result and the end of its job are one transaction.

A worker claims jobs by a lease. Whoever finishes them must still hold it: `WorkQueue.finish_many` writes the
results, deletes the jobs and adds those that follow (`orthanc_al.pipeline`) in one transaction, so that work
may run twice but has its effect once. A worker that is killed lets its lease run out, and another one takes
its jobs.
"""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, select, update

from orthanc_al.errors import LeaseLostError
from orthanc_al.ledger.batches import beside, films_in_time
from orthanc_al.ledger.due import first_due
from orthanc_al.ledger.effects import Effect, write_each
from orthanc_al.ledger.engine import Ledger
from orthanc_al.ledger.log_file import NotOnDiskError
from orthanc_al.ledger.schema import jobs
from orthanc_al.ledger.waiting import backoff, enqueue_all, put_back
from orthanc_al.observe import Clock, logger, now
from orthanc_al.pipeline import KEEP_PLACE, REPEATABLE, Step, successors

_log = logger("work")

MAX_ATTEMPTS: Final = 8
MAX_DEATHS: Final = 20  # tries that ended with their process: who killed it is not known, so more of them
_PASSING_WAIT: Final = 30.0
_FIRST_SECONDS: Final = 60.0
"""For so long a worker's takings are forced to the disk. What brings the machine down, again and again, is
taken soon after each start: if the power took that try along, nobody would ever give it up."""

# What each job asks for: to make a statement costs more than to run it.
_IDS: Final = jobs.c.id.in_(bindparam("ids", expanding=True))
_TAKE: Final = (
    update(jobs)
    .where(_IDS)
    .values(
        state="running",
        attempts=jobs.c.attempts + 1,
        lease_owner=bindparam("owner"),
        lease_until=bindparam("until"),
    )
)
_HELD: Final = select(jobs.c.id, jobs.c.run_at).where(
    _IDS, jobs.c.state == "running", jobs.c.lease_owner == bindparam("owner")
)
_END: Final = delete(jobs).where(_IDS)


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job; ``attempts`` counts this one, ``run_at`` is when it could start."""

    id: int
    step: Step
    subject: str
    attempts: int
    owner: str
    run_at: float = 0.0

    def place(self, time: float) -> float:
        """Return the time by which what follows it keeps its place in the queue; never one to come."""
        return min(self.run_at, time)


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
        Its effect on the ledger; runs in the transaction that ends the job, again where it was undone.
    subjects
        Subject for a following step where it is not this job's own (instance -> study).
    run_at
        When a following step may start (seconds since 1970); at once where it is missing, or by the place of
        this one (`orthanc_al.pipeline.KEEP_PLACE`).
    """

    name: str
    write: Effect = _writes_nothing
    subjects: dict[Step, str] = field(default_factory=dict)
    run_at: dict[Step, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finished:
    """What finishing jobs came to.

    Attributes
    ----------
    following
        The jobs that are done next, claimed.
    refused
        Jobs whose outcome could not be written, with the error; nothing of it is in the ledger. One that the
        worker had lost (`LeaseLostError`) is another worker's, the others are still its own.
    """

    following: list[Job]
    refused: list[tuple[Job, Exception]]


class WorkQueue:
    """The embedded queue, in the ledger itself.

    Parameters
    ----------
    ledger
        Where the rows are.
    owner
        Name of this worker, unique among the living ones.
    lease_seconds
        How long jobs may take before another worker may have them.
    clock
        Seconds since 1970; tests pass their own.
    """

    def __init__(self, ledger: Ledger, owner: str, lease_seconds: float = 300.0, clock: Clock = now) -> None:
        self._ledger = ledger
        self._owner = owner
        self.lease_seconds = lease_seconds
        self._clock = clock
        self._at_once = 1  # films: as many as there is time for, by how long the last ones took
        self._taken_at = monotonic()
        self._began = monotonic()

    def claim_many(self, steps: Collection[Step]) -> list[Job]:
        """Take the job of ``steps`` that has waited longest beyond its time, and those that go with it.

        Which those are, `orthanc_al.ledger.batches` says. Empty where none is due.
        """
        with self._ledger.read() as connection:  # most polls find nothing and must not take the write lock
            if first_due(connection, steps, self._clock()) is None:
                return []
        # Who is gone with the power holds nothing.
        with self._writing(forced=self._counts_surely()) as connection:
            return self._take(connection, steps)

    def _take(self, connection: Connection, steps: Collection[Step]) -> list[Job]:
        lead = first_due(connection, steps, self._clock())
        if lead is None:
            return []
        if lead["attempts"] >= MAX_DEATHS:  # the last tries all ended with their process, or with its GPU
            _quarantine(connection, lead["id"], "the process that ran it died, or lost its GPU, each time")
            return []
        rows = [lead, *beside(connection, lead, self._clock(), self._at_once)]
        self._taken_at = monotonic()
        lease = {"owner": self._owner, "until": self._clock() + self.lease_seconds}
        connection.execute(_TAKE, {"ids": [row["id"] for row in rows], **lease})
        return [
            Job(row["id"], Step(row["step"]), row["subject"], row["attempts"] + 1, self._owner, row["run_at"])
            for row in rows
        ]

    def extend(self, held: Sequence[Job]) -> None:
        """Hold jobs for another lease; one that was lost meanwhile stays lost, and `finish_many` says so."""
        with self._ledger.write(forced=False) as connection:
            connection.execute(
                update(jobs).where(self._ours(held)).values(lease_until=self._clock() + self.lease_seconds)
            )

    def finish_many(
        self, done: Sequence[tuple[Job, Outcome]], then: Collection[Step] = (), left: Sequence[Job] = ()
    ) -> Finished:
        """Write outcomes, end their jobs, add the jobs that follow and take the next ones.

        All in one transaction: each by itself would be a wait for the disk, and so would taking the next.
        What is `REPEATABLE` alone waits for none: after a power cut it is done again.
        What follows from several of them is asked for once. An outcome that can't be written takes nothing of
        the others along.

        Parameters
        ----------
        then
            As `claim_many`'s ``steps``; empty, or where an outcome was refused: no job is taken.
        left
            Jobs that were taken with these and not begun: put back as they were.

        Raises
        ------
        SQLAlchemyError
            The ledger can't be written; nothing is.
        """
        refused: list[tuple[Job, Exception]] = []
        wanted: dict[tuple[Step, str], float] = {}
        took = monotonic() - self._taken_at  # the wait for the ledger is none of it: more at once spare it
        repeatable = {job.step for job, _ in done} <= REPEATABLE
        forced = not repeatable or bool(then and self._counts_surely())
        with self._writing(forced=forced) as connection:
            held = self._held_among(connection, [*(job for job, _ in done), *left])
            unbegun = [(job.id, job.step, job.subject, held.pop(job.id)) for job in left if job.id in held]
            follows: dict[int, dict[tuple[Step, str], float]] = {}
            for job, outcome in done:
                try:
                    follows[job.id] = self._following(job, outcome, held)
                except (LeaseLostError, KeyError) as error:
                    refused.append((job, error))
                    held.pop(job.id, None)
            ours = [(job, outcome.write) for job, outcome in done if job.id in held]
            for (job, _), refusal in zip(
                ours, write_each(connection, [write for _, write in ours]), strict=True
            ):
                if refusal is not None:
                    refused.append((job, refusal))
                    del held[job.id]
                    continue
                wanted |= {what: min(at, wanted.get(what, at)) for what, at in follows[job.id].items()}
            connection.execute(_END, {"ids": list(held)})
            enqueue_all(connection, wanted)
            if unbegun:
                put_back(connection, self._owner, unbegun)
            if any(job.step is Step.SCORE_IMAGE for job, _ in done):
                self._at_once = films_in_time(len(done), took)
            following = self._take(connection, then) if then and not refused else []
        return Finished(following, refused)

    @contextmanager
    def _writing(self, *, forced: bool = True) -> Iterator[Connection]:
        """Write as `Ledger.write` does; what the disk would not have is written all the same.

        It is seen, and done again should the power take it. Who took it for not written would tell the queue
        of jobs that have ended, and not know of those that it has just taken.
        """
        try:
            with self._ledger.write(forced=forced) as connection:
                yield connection
        except NotOnDiskError as error:
            _log.error("queue_not_on_disk", error=str(error.orig))

    def _counts_surely(self) -> bool:
        """Whether the tries of jobs that are taken now are to outlive a power cut."""
        return monotonic() - self._began < _FIRST_SECONDS

    def _following(
        self, job: Job, outcome: Outcome, held: Mapping[int, float]
    ) -> dict[tuple[Step, str], float]:
        """Return what follows an outcome, and when."""
        if job.id not in held:
            raise LeaseLostError(
                f"{job.step} of {job.subject}: the lease ran out, another worker has the job"
            )
        time = self._clock()
        place = job.place(time) if job.step in KEEP_PLACE else time
        follows = {
            (step, outcome.subjects.get(step, job.subject)): outcome.run_at.get(step, place)
            for step in successors(job.step, outcome.name)
        }
        same = job.step, job.subject
        if same in follows and held[job.id] != job.run_at:  # it was hurried while it ran
            follows[same] = held[job.id]
        return follows

    def fail(self, job: Job, error: str, *, retryable: bool, passes: bool = False) -> bool:
        """Put a failed job back with backoff and jitter, or into quarantine; return whether the latter.

        Quarantined jobs wait for `orthanc-al requeue`; ``error`` says why. What ``passes`` (a full disk) is
        not counted as a try of the job.
        """
        final = not (retryable or passes) or (not passes and job.attempts >= MAX_ATTEMPTS)
        delay = _PASSING_WAIT * random.uniform(0.5, 1.0) if passes else backoff(job.attempts)  # noqa: S311
        with self._writing() as connection:
            if not final and self._waiting_twin(connection, job):
                # The same work was asked for again meanwhile: that row does it.
                connection.execute(delete(jobs).where(self._ours([job])))
                return False
            connection.execute(
                update(jobs)
                .where(self._ours([job]))
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

    def _ours(self, held: Sequence[Job]) -> ColumnElement[bool]:
        return and_(
            jobs.c.id.in_([job.id for job in held]),
            jobs.c.state == "running",
            jobs.c.lease_owner == self._owner,
        )

    def _held_among(self, connection: Connection, held: Sequence[Job]) -> dict[int, float]:
        """Return the jobs that are still this worker's, and their times; none is lost while it may write."""
        rows = connection.execute(_HELD, {"ids": [job.id for job in held], "owner": self._owner})
        return {row.id: row.run_at for row in rows}

    @staticmethod
    def _waiting_twin(connection: Connection, job: Job) -> bool:
        twin = select(jobs.c.id).where(
            jobs.c.step == job.step.value, jobs.c.subject == job.subject, jobs.c.state == "ready"
        )
        return connection.execute(twin).first() is not None


def _quarantine(connection: Connection, job_id: int, error: str) -> None:
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(state="quarantined", error=error, lease_owner=None, lease_until=None)
    )


__all__ = ["MAX_ATTEMPTS", "MAX_DEATHS", "Finished", "Job", "Outcome", "WorkQueue"]
