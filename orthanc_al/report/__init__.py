"""What we say of a study to others: structured report, key object selection, labels and metadata."""

from orthanc_al.report.mirror import MirrorStage
from orthanc_al.report.sign import SignStage
from orthanc_al.report.stage import ReportStage

__all__ = ["MirrorStage", "ReportStage", "SignStage"]
