"""Is the service ready? Each role alive, the schema right, space in the spool, the queue not stuck."""

import shutil
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from orthanc_al.ledger import facts, figures, processes
from orthanc_al.web.context import Context
from orthanc_al.web.schemas import ProcessState, Readiness
from orthanc_al.web.words import duration

LAG_SECONDS: Final = 600
"""A job that has been due for so long says that the queue is stuck."""


def check(context: Context) -> Readiness:
    """Return what is ready and what is not, with a reason for each fault."""
    try:
        return _check(context)
    except SQLAlchemyError as error:
        return Readiness(ready=False, reasons=[f"the ledger can't be read: {type(error).__name__}"])


def _check(context: Context) -> Readiness:
    now = context.clock()
    with context.ledger.read() as connection:
        known = processes.all_roles(connection)
        paused = facts.scoring_paused(connection)
        oldest = figures.oldest_due(connection, now, paused=paused)
    lag = 0.0 if oldest is None else max(0.0, now - oldest)
    states = {role: _process(known.get(role), now) for role in context.roles}
    schema = context.ledger.revision() or "none"
    free = _free_bytes(context)
    reasons = [f"{role}: {fault}" for role, state in states.items() if (fault := _fault(state))]
    if schema != context.schema:
        reasons.append(f"the ledger has schema {schema}, this program was started on {context.schema}")
    if free is None:
        reasons.append("the spool folder can't be read")
    elif free < context.min_free_bytes:
        reasons.append(
            f"the spool has {free / 1e9:.1f} GB free, less than storage.min_free_gb: nothing is taken"
        )
    if lag > LAG_SECONDS:
        reasons.append(f"the oldest job has been due for {duration(lag)}")
    return Readiness(
        ready=not reasons,
        reasons=reasons,
        processes=states,
        paused=paused,
        schema_revision=schema,
        spool_free_bytes=free,
        queue_lag_seconds=lag,
        provider=str(states["worker"].detail.get("provider", "")) if "worker" in states else "",
    )


def _process(row: dict[str, Any] | None, now: float) -> ProcessState:
    if row is None:
        return ProcessState(alive=False)
    silent = max(0.0, now - row["seen_at"])
    return ProcessState(
        alive=silent <= processes.SILENT_SECONDS,
        silent_seconds=silent,
        pid=row["pid"],
        restarts=row["restarts"],
        detail=row["detail"],
    )


def _fault(state: ProcessState) -> str | None:
    if not state.alive:
        return _silence(state)
    said = str(state.detail.get("state", "ready"))
    return None if said == "ready" else said


def _silence(state: ProcessState) -> str:
    if state.silent_seconds is None:
        return "has not started"
    return f"no sign of life for {duration(state.silent_seconds)}"


def _free_bytes(context: Context) -> int | None:
    try:
        return shutil.disk_usage(context.spool).free
    except OSError:
        return None
