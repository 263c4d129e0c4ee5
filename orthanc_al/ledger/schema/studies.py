"""Studies, and what is said of them."""

from typing import Final

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import JSON

from orthanc_al.ledger.schema.base import UID, metadata
from orthanc_al.observe import now

ON_WORKLIST: Final = "state NOT IN ('read', 'expired')"
"""The studies that somebody still has to read, in the very words that the partial index is kept by."""

_ORDER: Final = ("read_by", "arrived_at", "study_instance_uid", "modality", "tier", "blind", "placed_at")

studies = Table(
    "studies",
    metadata,
    Column("study_instance_uid", String(128), primary_key=True),
    Column("patient_key", String(32), nullable=False),
    # For the reader's eyes (worklist page); never logged.
    Column("patient_id", String(128), nullable=False, default=""),
    Column("patient_name", String(256), nullable=False, default=""),
    Column("birth_date", String(8), nullable=False, default=""),
    Column("sex", String(4), nullable=False, default=""),
    Column("accession_number", String(64), nullable=False, default=""),
    Column("description", String(128), nullable=False, default=""),
    Column("study_date", String(8), nullable=False, default=""),
    Column("station", String(128), nullable=False, default=""),
    Column("modality", String(16), nullable=False, default=""),
    Column("body_part", String(32), nullable=False, default=""),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("revision", Integer, nullable=False, default=0),
    Column("completed_revision", Integer),
    Column("completion", String(32)),  # the evidence that completed it
    Column("expected_instances", Integer),
    Column("arrived_at", Float, nullable=False),
    Column("last_received_at", Float, nullable=False),
    Column("completed_at", Float),
    Column("priority", String(16), nullable=False, default=""),  # STAT, HIGH: from the order
    # The place on the worklist; `tier` is what may be shown (a blind audit case shows none).
    Column("read_by", Integer, nullable=False),
    Column("tier", String(8), nullable=False, default="none"),
    Column("why", Text, nullable=False, default=""),
    Column("placed_at", Float),
    Column("blind", Boolean, nullable=False, default=False),
    Column("orthanc_id", String(64)),
    Column("closed_at", Float),
    # When the row was last written, so that pages can wait for news without looking at all of them.
    Column("changed_at", Float, nullable=False, default=now, onupdate=now, server_default="0"),
    Index("ix_studies_worklist", "state", "read_by"),
    # The worklist's order with all that its filters and counts look at, so that a page needs no sorting
    # and a count reads no row: over what is still to be read, and over everything. The first is the
    # narrower one: that is what makes SQLite choose it (tests/unit/ledger/worklist_plan_test.py).
    Index(
        "ix_studies_reading_order",
        *_ORDER,
        sqlite_where=text(ON_WORKLIST),
        postgresql_where=text(ON_WORKLIST),
    ),
    Index("ix_studies_order", *_ORDER, "state"),
    Index("ix_studies_changed", "changed_at"),
    Index("ix_studies_patient", "patient_key"),
    Index("ix_studies_accession", "accession_number"),
)

# One row an image and model: what the network gave, before calibration.
image_scores = Table(
    "image_scores",
    metadata,
    Column("instance_id", String(32), ForeignKey("instances.id"), primary_key=True),
    Column("frame", Integer, primary_key=True),
    Column("model_digest", String(64), primary_key=True),
    Column("logits", JSON, nullable=False),
    Column("embedding", LargeBinary, nullable=False),  # float32, little endian
    Column("regions", JSON, nullable=False),  # a finding each: [left, top, right, bottom] or null
    # Of a slice: position (3), orientation (6), rows, columns; null where it names no place.
    Column("place", JSON),
    Column("decode_seconds", Float, nullable=False, default=0.0),
    Column("run_seconds", Float, nullable=False, default=0.0),
)

predictions = Table(
    "predictions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_instance_uid", String(128), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("model_name", String(64), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("model_digest", String(64), nullable=False),
    Column("finding", String(64), nullable=False),
    Column("logit", Float, nullable=False),
    Column("probability", Float, nullable=False),
    Column("std", Float, nullable=False, default=0.0),
    Column("ood", Float, nullable=False, default=0.0),
    Column("instance_id", String(32)),  # the image that decided it
    Column("frame", Integer, nullable=False, default=1),
    Column("images", Integer, nullable=False, default=1),
    Column("embedding", LargeBinary, nullable=False),
    Column("tier", String(8)),  # by triage; never shown while the study is blind
    Column("why", Text),
    Column("read_by", Integer),
    Column("scored_at", Float, nullable=False),
    UniqueConstraint("study_instance_uid", "revision", "model_digest", "finding"),
    # How many studies were scored lately is asked with each study: answered from the index alone.
    Index("ix_predictions_scored", "scored_at", "study_instance_uid"),
)

# One row a study that was drawn: for the blind audit, or to be asked of the radiologist.
selections = Table(
    "selections",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_instance_uid", String(128), nullable=False),
    Column("kind", String(8), nullable=False),  # audit | query
    Column("strategy", String(32), nullable=False),
    Column("propensity", Float, nullable=False),  # pi: probability of being drawn
    Column("weight", Float, nullable=False, default=0.0),  # q: the share that a query step gave it
    Column("score", Float),  # g
    Column("seed", String(64), nullable=False),
    Column("pool_digest", String(64), nullable=False, default=""),
    Column("model_digest", String(64), nullable=False, default=""),
    Column("reason", Text, nullable=False, default=""),
    Column("fold", String(16)),  # audit: calibration | thresholds | gate
    Column("decided_at", Float, nullable=False),
    Column("day", String(10), nullable=False),  # the site's date: what the budget counts by
    Column("signed_at", Float),
    UniqueConstraint("study_instance_uid", "kind"),
    Index("ix_selections_day", "kind", "day"),
)

# Objects that we made, by their derived UID.
reports = Table(
    "reports",
    metadata,
    Column("sop_instance_uid", UID, primary_key=True),
    Column("kind", String(8), nullable=False),  # sr | kos | read | picture
    Column("study_instance_uid", String(128), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("model_digest", String(64), nullable=False, default=""),
    Column("predecessor", UID),
    Column("instance_id", String(32), nullable=False),
    Column("created_at", Float, nullable=False),
    Index("ix_reports_study", "study_instance_uid"),
)

reads = Table(
    "reads",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_instance_uid", String(128), nullable=False),
    Column("finding", String(64), nullable=False),
    Column("value", String(16), nullable=False),
    Column("source", String(16), nullable=False),
    Column("rank", Integer, nullable=False),
    Column("reader", String(256), nullable=False, default=""),
    Column("read_at", Float, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("reference", String(256), nullable=False),
    Column("ai_shown", Boolean, nullable=False),
    # counts | superseded | conflict | waiting (for adjudication or a name)
    Column("state", String(16), nullable=False),
    Column("supersedes", JSON, nullable=False, default=list),  # references of the reads that it replaces
    # Of reads that were given here: the images that the reader had before her, her words, and how her
    # name is known (user | asked | program); empty for what came from elsewhere.
    Column("revision", Integer),
    Column("comment", Text, nullable=False, default="", server_default=""),
    Column("identified_by", String(16), nullable=False, default="", server_default=""),
    UniqueConstraint("reference", "finding"),
    Index("ix_reads_study", "study_instance_uid", "finding"),
    Index("ix_reads_state", "state"),
)
