"""Models and learning."""

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import JSON

from orthanc_al.ledger.schema.base import metadata

models = Table(
    "models",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("folder", Text, nullable=False),
    Column("parent", String(64)),
    Column("origin", String(16), nullable=False),  # factory | retrained | finetuned | converted
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
    # better | not_better | not_enough | refused; withdrawn: the audit took the champion back
    Column("verdict", String(16), nullable=False),
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

# A patient whose ID was merged into another's: what arrives under the old key belongs to the new one.
patient_aliases = Table(
    "patient_aliases",
    metadata,
    Column("patient_key", String(32), primary_key=True),
    Column("belongs_to", String(32), nullable=False),
    Column("at", Float, nullable=False),
)

# What a candidate says of studies that the champion scored: never shown, it only makes agreement figures.
shadow_scores = Table(
    "shadow_scores",
    metadata,
    Column("study_instance_uid", String(128), primary_key=True),
    Column("candidate", String(64), primary_key=True),
    Column("finding", String(64), primary_key=True),  # empty: the candidate could not score the study
    Column("champion", String(64), nullable=False),
    Column("logit", Float, nullable=False),
    Column("probability", Float, nullable=False),
    Column("flagged", Boolean, nullable=False),
    Column("champion_logit", Float, nullable=False),
    Column("champion_probability", Float, nullable=False),
    Column("champion_flagged", Boolean, nullable=False),
    Column("error", Text, nullable=False, default=""),
    Column("at", Float, nullable=False),
    Index("ix_shadow_scores_candidate", "candidate", "at"),
)

# What a fine-tuned backbone gives for the labelled cases from before it, out of the training cache.
history_embeddings = Table(
    "history_embeddings",
    metadata,
    Column("study_instance_uid", String(128), primary_key=True),
    Column("finding", String(64), primary_key=True),
    Column("model_digest", String(64), primary_key=True),
    Column("embedding", LargeBinary, nullable=False),  # float32, little endian
    Column("ood", Float, nullable=False),
    Column("at", Float, nullable=False),
)
