"""Work that waits: asked for, counted, given back by the dead, taken up again from quarantine."""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, exists, func, select, text, update

from orthanc_al.ledger.schema import instances, jobs
from orthanc_al.ledger.upserts import upsert
from orthanc_al.observe import now
from orthanc_al.pipeline import Step

_BACKOFF_BASE: Final = 2.0
_BACKOFF_CAP: Final = 600.0
IMAGES_WAIT: Final = 1.0
"""Seconds after which a study whose images are being scored is looked at again, if none asked before."""
WAITS: Final = text("state = 'ready'")
"""Condition of the index of waiting jobs: as text, since neither many rows at once nor a statement that
PostgreSQL has prepared finds the index by a condition with a parameter in it."""

# What each image and each study asks for: to make a statement costs more than to run it.
_SAME: Final = (jobs.c.step == bindparam("wanted"), jobs.c.subject == bindparam("of"))
_HURRY_WAITING: Final = (
    update(jobs).where(WAITS, jobs.c.run_at > bindparam("time"), *_SAME).values(run_at=bindparam("time"))
)
_HURRY_RUNNING: Final = update(jobs).where(jobs.c.state == "running", *_SAME).values(run_at=bindparam("time"))
# From the study's instances to their jobs: the other way would look at all that wait.
_OF_STUDIES: Final = (
    select(instances.c.study_instance_uid)
    .where(instances.c.study_instance_uid.in_(bindparam("of", expanding=True)))
    .distinct()
)
_OF_INSTANCE: Final = (jobs.c.step == bindparam("wanted"), jobs.c.subject == instances.c.id)
_WAITS_OF: Final = _OF_STUDIES.where(exists().where(WAITS, jobs.c.attempts == 0, *_OF_INSTANCE))
_RUNS_OF: Final = _OF_STUDIES.where(
    exists().where(
        jobs.c.state == "running",
        jobs.c.attempts == 1,
        jobs.c.lease_until > bindparam("time"),
        *_OF_INSTANCE,
    )
)
_OURS: Final = (
    jobs.c.id.in_(bindparam("ids", expanding=True)),
    jobs.c.state == "running",
    jobs.c.lease_owner == bindparam("owner"),
)
_TWIN: Final = jobs.alias()
_PUT_BACK: Final = (
    update(jobs)
    .where(
        *_OURS,
        ~exists().where(
            _TWIN.c.state == "ready", _TWIN.c.step == jobs.c.step, _TWIN.c.subject == jobs.c.subject
        ),
    )
    .values(state="ready", attempts=jobs.c.attempts - 1, lease_owner=None, lease_until=None)
)
_LEAVE_TO_TWIN: Final = delete(jobs).where(*_OURS)


def enqueue(connection: Connection, step: Step, subject: str, run_at: float) -> None:
    """Put a job on the queue; see `enqueue_all`."""
    enqueue_all(connection, {(step, subject): run_at})


def enqueue_all(connection: Connection, wanted: Mapping[tuple[Step, str], float]) -> None:
    """Put jobs on the queue; where the same one waits already, it waits no longer than to the new time.

    It is never put off: who asked for it to be done sooner may know what this one does not.

    Parameters
    ----------
    wanted
        When each job, by step and subject, may start (seconds since 1970).
    """
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
        for (step, subject), run_at in wanted.items()
    ]
    if rows:
        upsert(connection, jobs, rows, ["step", "subject"], ["run_at"], where=WAITS, lower="run_at")


def hurry(connection: Connection, step: Step, subject: str, time: float) -> None:
    """Have a job that waits for its time start now; none is made where there is none.

    One that runs looks again at once where it would have looked later: its row's time is what says so when it
    ends. What needs no second look gets none.
    """
    hurry_all(connection, step, {subject: time})


def hurry_all(connection: Connection, step: Step, times: Mapping[str, float]) -> None:
    """Have jobs start now as `hurry` does, by subject."""
    rows = [{"wanted": step.value, "of": subject, "time": time} for subject, time in times.items()]
    for statement in (_HURRY_WAITING, _HURRY_RUNNING) if rows else ():
        connection.execute(statement, rows)


def is_in_first_try(connection: Connection, step: Step, study_instance_uid: str, time: float) -> bool:
    """Whether a worker has, or soon takes, instances of a study for a step at which they did not fail yet."""
    return bool(in_first_try(connection, step, [study_instance_uid], time))


def in_first_try(connection: Connection, step: Step, of: Collection[str], time: float) -> set[str]:
    """Return of which studies `is_in_first_try` holds."""
    values = {"wanted": step.value, "of": list(of), "time": time}
    return {uid for there in (_WAITS_OF, _RUNS_OF) for uid in connection.execute(there, values).scalars()}


def put_back(connection: Connection, owner: str, jobs_left: Sequence[tuple[int, Step, str, float]]) -> None:
    """Put jobs back that a worker took and did not begin: they wait as if they had not been taken.

    Where one was asked for again meanwhile, that row does it, and no later.

    Parameters
    ----------
    jobs_left
        Id, step, subject and time of each.
    """
    sooner = [{"wanted": step.value, "of": subject, "time": at} for _, step, subject, at in jobs_left]
    connection.execute(_HURRY_WAITING, sooner)
    ours = {"ids": [job_id for job_id, *_ in jobs_left], "owner": owner}
    for statement in (_PUT_BACK, _LEAVE_TO_TWIN):
        connection.execute(statement, ours)


def backoff(attempts: int) -> float:
    """Return the seconds to wait after so many tries: doubling, capped, with jitter."""
    return min(_BACKOFF_CAP, _BACKOFF_BASE**attempts) * random.uniform(0.5, 1.0)  # noqa: S311


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
        wait = backoff(row.attempts) if row.attempts > 1 else 0.0
        # A claim does the rest when the lease ends: it counts the try. It is nobody's: put off once only.
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
