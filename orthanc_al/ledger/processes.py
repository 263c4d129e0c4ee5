"""Which of our processes live, and what they say of themselves."""

from typing import Any, Final

from sqlalchemy import Connection, select, update

from orthanc_al.ledger.schema import processes
from orthanc_al.ledger.upserts import upsert
from orthanc_al.observe import now

SILENT_SECONDS: Final = 30.0
"""Without a sign of life for longer a process counts as dead."""


def report_alive(
    connection: Connection, role: str, pid: int, started_at: float, detail: dict[str, Any]
) -> None:
    """Write that process ``pid`` does ``role`` and lives; ``detail`` is shown by doctor and /readyz."""
    values = {
        "role": role,
        "pid": pid,
        "started_at": started_at,
        "seen_at": now(),
        "detail": detail,
    }
    kept = {"role", "restarts"}
    values["restarts"] = 0
    upsert(connection, processes, values, ["role"], [name for name in values if name not in kept])


def note_restart(connection: Connection, role: str) -> None:
    """Count a restart of the process that does ``role``."""
    more = processes.c.restarts + 1
    connection.execute(update(processes).where(processes.c.role == role).values(restarts=more))


def all_roles(connection: Connection) -> dict[str, dict[str, Any]]:
    """Return what is known of each role."""
    return {row["role"]: dict(row) for row in connection.execute(select(processes)).mappings()}
