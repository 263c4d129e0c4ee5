"""The audit trail: who did what to which study or model, and when."""

from typing import Any

from sqlalchemy import Connection, insert, select

from orthanc_al.ledger.schema import audit_trail
from orthanc_al.observe import now


def record(connection: Connection, actor: str, action: str, subject: str, **detail: Any) -> None:
    """Add a line; it commits with the thing that it tells of.

    Parameters
    ----------
    actor
        A person's name, or the name of a process.
    action
        In the past tense: ``model_promoted``, ``scoring_paused``.
    subject
        UID, model digest or peer; never patient data.
    """
    connection.execute(
        insert(audit_trail).values(at=now(), actor=actor, action=action, subject=subject, detail=detail)
    )


def recent(connection: Connection, limit: int = 100) -> list[dict[str, Any]]:
    """Return the newest lines, newest first."""
    query = select(audit_trail).order_by(audit_trail.c.id.desc()).limit(limit)
    return [dict(row) for row in connection.execute(query).mappings()]
