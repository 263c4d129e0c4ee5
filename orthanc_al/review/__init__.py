"""What persons said of studies: from reports that come back, labels and files."""

from orthanc_al.review.importing import ImportReport, import_reads
from orthanc_al.review.labels import poll_labels
from orthanc_al.review.stage import ReviewStage

__all__ = ["ImportReport", "ReviewStage", "import_reads", "poll_labels"]
