"""From a prediction to a tier and a read-by time."""

from orthanc_al.triage.stage import TriageStage
from orthanc_al.triage.tier import tier_of

__all__ = ["TriageStage", "tier_of"]
