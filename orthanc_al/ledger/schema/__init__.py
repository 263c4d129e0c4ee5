"""The tables of the ledger (SQLAlchemy Core 2), the same on SQLite and on PostgreSQL.

Times are float seconds since 1970 (UTC), durations seconds, but for ``read_by``, which is in integer
minutes since 1970, since that sorts the same anywhere. UIDs are text of at most 64 characters (PS3.5 9.1).
"""

from orthanc_al.ledger.schema.base import metadata
from orthanc_al.ledger.schema.learning import (
    change_records,
    datasets,
    history_embeddings,
    models,
    patient_aliases,
    patient_folds,
    promotions,
    shadow_scores,
    training_cache,
)
from orthanc_al.ledger.schema.monitoring import monitor_points
from orthanc_al.ledger.schema.orthanc import orthanc_instances
from orthanc_al.ledger.schema.program import (
    audit_trail,
    facts,
    jobs,
    processes,
)
from orthanc_al.ledger.schema.services import (
    commitment_items,
    commitments,
    destinations,
    procedure_steps,
    source_counts,
)
from orthanc_al.ledger.schema.studies import (
    image_scores,
    predictions,
    reads,
    reports,
    selections,
    studies,
)
from orthanc_al.ledger.schema.wire import (
    associations,
    deliveries,
    instances,
    refusals,
)

__all__ = [
    "associations",
    "audit_trail",
    "change_records",
    "commitment_items",
    "commitments",
    "datasets",
    "deliveries",
    "destinations",
    "facts",
    "history_embeddings",
    "image_scores",
    "instances",
    "jobs",
    "metadata",
    "models",
    "monitor_points",
    "orthanc_instances",
    "patient_aliases",
    "patient_folds",
    "predictions",
    "procedure_steps",
    "processes",
    "promotions",
    "reads",
    "refusals",
    "reports",
    "selections",
    "shadow_scores",
    "source_counts",
    "studies",
    "training_cache",
]
