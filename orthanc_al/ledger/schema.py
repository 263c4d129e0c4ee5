"""The tables of the ledger (SQLAlchemy Core 2), the same on SQLite and on PostgreSQL.

Times are float seconds since 1970 (UTC), durations seconds, but for ``read_by``, which is in integer
minutes since 1970, since that sorts the same anywhere. UIDs are text of at most 64 characters (PS3.5 9.1).
"""

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import JSON

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

UID = String(64)

# --- what came in, and where it goes ---------------------------------------------------------------

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
    # waiting | sent | warning | refused | cancelled
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

# --- studies and what is said of them --------------------------------------------------------------

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
    Index("ix_studies_worklist", "state", "read_by"),
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
    Index("ix_predictions_scored", "scored_at"),
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
    UniqueConstraint("reference", "finding"),
    Index("ix_reads_study", "study_instance_uid", "finding"),
)

# --- models and learning ---------------------------------------------------------------------------

models = Table(
    "models",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("folder", Text, nullable=False),
    Column("parent", String(64)),
    Column("origin", String(16), nullable=False),  # factory | retrained
    # known | candidate | refused | promoted (at some time)
    Column("state", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("name", "version"),
)

# The champion of a model name is its last row here.
promotions = Table(
    "promotions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model_name", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("previous", String(64)),
    Column("kind", String(16), nullable=False),  # installed | promoted | rolled_back
    Column("approver", String(128), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
    Index("ix_promotions_name", "model_name", "id"),
)

datasets = Table(
    "datasets",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("content", JSON, nullable=False),
)

change_records = Table(
    "change_records",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("model_name", String(64), nullable=False),
    Column("candidate", String(64)),
    Column("champion", String(64), nullable=False),
    Column("dataset_digest", String(64)),
    Column("verdict", String(16), nullable=False),  # better | not_better | not_enough | refused
    Column("content", JSON, nullable=False),
)

# A patient stays in the fold that she first had.
patient_folds = Table(
    "patient_folds",
    metadata,
    Column("patient_key", String(32), primary_key=True),
    Column("fold", String(16), nullable=False),
    Column("at", Float, nullable=False),
)

# What survives the spool: embedding and de-identified model input of labelled and audit cases.
training_cache = Table(
    "training_cache",
    metadata,
    Column("study_instance_uid", String(128), primary_key=True),
    Column("instance_id", String(32), primary_key=True),
    Column("frame", Integer, primary_key=True),
    Column("patient_key", String(32), nullable=False),
    Column("file", String(128), nullable=False),
    Column("preprocessing", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Index("ix_training_cache_patient", "patient_key"),
)

# --- the program itself ----------------------------------------------------------------------------

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
