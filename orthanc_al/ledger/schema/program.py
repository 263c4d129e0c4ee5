"""The program itself: work, processes, single values, the audit trail."""

from sqlalchemy import (
    Column,
    Float,
    Index,
    Integer,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.types import JSON

from orthanc_al.ledger.schema.base import metadata

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("step", String(16), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("state", String(16), nullable=False),  # ready | running | quarantined
    Column("run_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("lease_owner", String(64)),
    Column("lease_until", Float),
    Column("error", Text),
    Column("created_at", Float, nullable=False),
    Index("ix_jobs_ready", "state", "step", "run_at"),
    # One waiting job a step and subject: asking twice is asking once.
    Index(
        "uq_jobs_ready",
        "step",
        "subject",
        unique=True,
        sqlite_where=text("state = 'ready'"),
        postgresql_where=text("state = 'ready'"),
    ),
)

processes = Table(
    "processes",
    metadata,
    Column("role", String(16), primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("restarts", Integer, nullable=False, default=0),
    Column("detail", JSON, nullable=False),  # worker: execution provider, models
)

# Single values: the salt, the seed, the pause switch, Orthanc's cursor.
facts = Table(
    "facts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

audit_trail = Table(
    "audit_trail",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(256), nullable=False),
    Column("detail", JSON, nullable=False),
)
