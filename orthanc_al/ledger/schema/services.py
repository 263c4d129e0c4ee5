"""What is known of destinations and told by other services: commitment, procedure steps, counts."""

from sqlalchemy import JSON, Column, Float, ForeignKey, Index, Integer, String, Table, Text

from orthanc_al.ledger.schema.base import metadata

# What the forwarder has learned of a destination; a row where there is something to say.
destinations = Table(
    "destinations",
    metadata,
    Column("name", String(64), primary_key=True),
    # Why it is left alone: a value of dicom.faults.Fault, in words, since when; NULL where all is well
    Column("fault", String(32)),
    Column("reason", Text),
    Column("since", Float),
    Column("failures", Integer, nullable=False, default=0),
    # By SOP class, the transfer syntaxes that it accepted of those that were asked for.
    Column("syntaxes", JSON),
    Column("syntaxes_at", Float),
)

# A storage commitment transaction (PS3.4 annex J): asked by us (scu), or of us (scp).
commitments = Table(
    "commitments",
    metadata,
    Column("transaction_uid", String(128), primary_key=True),
    Column("role", String(3), nullable=False),
    Column("peer", String(64), nullable=False),
    # Ours (scu) are asked, then done; those of peers (scp) are open, then done.
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_at", Float, nullable=False),
    Column("error", Text),
    Column("made_at", Float, nullable=False),
    Index("ix_commitments_next", "role", "state", "next_at"),
)

commitment_items = Table(
    "commitment_items",
    metadata,
    Column("transaction_uid", String(128), ForeignKey("commitments.transaction_uid"), primary_key=True),
    Column("sop_instance_uid", String(128), primary_key=True),
    Column("sop_class_uid", String(128), nullable=False),
    Column("delivery_id", Integer),  # which of ours it is asked for; NULL where a peer asks
    Index("ix_commitment_items_delivery", "delivery_id"),
)

# A modality performed procedure step (PS3.4 annex F), as evidence of when a study is complete.
procedure_steps = Table(
    "procedure_steps",
    metadata,
    Column("sop_instance_uid", String(128), primary_key=True),
    Column("study_instance_uid", String(128)),
    Column("source", String(64), nullable=False),
    # IN PROGRESS | COMPLETED | DISCONTINUED (0040,0252)
    Column("status", String(16), nullable=False),
    Column("instances", Integer),  # referenced by its performed series, once it is over
    Column("changed_at", Float, nullable=False),
    Index("ix_procedure_steps_study", "study_instance_uid"),
)

# What a study's source answered to C-FIND.
source_counts = Table(
    "source_counts",
    metadata,
    Column("study_instance_uid", String(128), primary_key=True),
    Column("source", String(64), primary_key=True),
    Column("instances", Integer),
    Column("error", Text),
    Column("asked_at", Float, nullable=False),
)
