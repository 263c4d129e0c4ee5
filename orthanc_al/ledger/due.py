"""Which job is next: the one that has waited longest beyond its time.

The oldest of each step is the first of its part of the index, so that what waits behind them, ten thousand
images, say, is not looked at: to sort it for each job would cost more than many a film.
"""

from collections.abc import Collection
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    RowMapping,
    Select,
    and_,
    bindparam,
    or_,
    select,
    text,
    union_all,
)

from orthanc_al.ledger.schema import jobs
from orthanc_al.pipeline import Step

_SKEW: Final = 5.0  # seconds by which the clocks of several machines may differ
_FARTHEST: Final = 86400.0  # seconds; no lease and no wait is longer


def first_due(connection: Connection, steps: Collection[Step], time: float) -> RowMapping | None:
    """Return the row of the job of ``steps`` that is to be taken next, None where none is due.

    One whose lease has run out is due again. So is what a clock that was set back since would hold up: a time
    beyond all that is planned, and a job made in the future that was never tried.
    """
    if not steps:
        return None
    times = {"time": time, "soon": time + _SKEW, "never": time + _FARTHEST}
    return connection.execute(_first(frozenset(steps)), times).mappings().first()


@cache
def _first(steps: frozenset[Step]) -> Select[Any]:
    """Return the statement: to make it costs more than to run it."""
    time, soon, never = (bindparam(name, type_=Float) for name in ("time", "soon", "never"))
    waits, runs = text("state = 'ready'"), text("state = 'running'")
    of_steps = jobs.c.step.in_(sorted(steps))
    heads = [
        *(_oldest(waits, jobs.c.step == step, jobs.c.run_at <= time) for step in sorted(steps)),
        _oldest(
            waits,
            of_steps,
            jobs.c.run_at > time,
            or_(jobs.c.run_at > never, and_(jobs.c.attempts == 0, jobs.c.created_at.between(soon, never))),
        ),
        _oldest(runs, of_steps, or_(jobs.c.lease_until <= time, jobs.c.lease_until > never)),
    ]
    oldest = union_all(*heads).subquery()
    first = select(oldest.c.id).order_by(oldest.c.run_at, oldest.c.id).limit(1)
    return select(jobs).where(jobs.c.id == first.scalar_subquery())


def _oldest(*conditions: ColumnElement[bool] | Any) -> Select[Any]:
    query = select(jobs.c.id, jobs.c.run_at).where(*conditions).order_by(jobs.c.run_at, jobs.c.id).limit(1)
    return select(query.subquery())
