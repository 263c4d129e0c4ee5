"""What came in, and where it goes."""

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from orthanc_al.ledger.schema.base import UID, metadata

associations = Table(
    "associations",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("calling_ae", String(16), nullable=False),
    Column("called_ae", String(16), nullable=False),
    Column("address", String(64), nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("closed_at", Float),
    # released | aborted | lost (the listener died); NULL while it is open
    Column("ended", String(16)),
    Index("ix_associations_open", "opened_at", sqlite_where=text("closed_at IS NULL")),
)

# One row a receive event. The header's fields are NULL until the step "arrive" has looked at them.
instances = Table(
    "instances",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("association_id", String(32)),
    # dicom | orthanc | own (made by us)
    Column("origin", String(8), nullable=False),
    Column("source", String(64), nullable=False),  # name of the peer, `ae:TITLE` where it is not listed
    Column("sop_class_uid", UID, nullable=False),
    Column("sop_instance_uid", String(128), nullable=False),
    Column("transfer_syntax_uid", UID, nullable=False),
    Column("size", Integer, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("study_instance_uid", String(128)),
    Column("series_instance_uid", String(128)),
    Column("modality", String(16)),
    Column("sha256", String(64)),
    # image | other | report | own | duplicate | unusable; NULL until looked at
    Column("kind", String(16)),
    Column("reason", Text),
    Column("spooled", Boolean, nullable=False, default=True),  # False once the file is cleaned away
    Index("ix_instances_study", "study_instance_uid"),
    Index("ix_instances_sop", "sop_instance_uid"),
    Index("ix_instances_association", "association_id"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("instance_id", String(32), ForeignKey("instances.id"), nullable=False),
    Column("destination", String(64), nullable=False),
    # waiting | sent | warning | committed | refused | cancelled
    Column("state", String(16), nullable=False, default="waiting"),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_at", Float, nullable=False),
    Column("transfer_syntax_uid", UID),  # which was sent, where it is not the original one
    Column("status", Integer),
    Column("error", Text),
    Column("done_at", Float),
    UniqueConstraint("instance_id", "destination"),
    Index("ix_deliveries_waiting", "destination", "state", "next_at"),
)

# What `accept = "listed"` refused, or `accept = "observe"` would have refused.
refusals = Table(
    "refusals",
    metadata,
    Column("calling_ae", String(16), primary_key=True),
    Column("called_ae", String(16), primary_key=True),
    Column("address", String(64), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("times", Integer, nullable=False, default=1),
    Column("observed_only", Boolean, nullable=False, default=False),
    Column("last_at", Float, nullable=False),
)
