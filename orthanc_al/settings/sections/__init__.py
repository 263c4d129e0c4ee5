"""The sections of the configuration: each key with its type, its default and what it must hold."""

from orthanc_al.settings.sections.base import LOOPBACK
from orthanc_al.settings.sections.program import Log, Site, Web
from orthanc_al.settings.sections.reading import Learn, Monitor, Report, Review, TargetMinutes, Triage
from orthanc_al.settings.sections.scoring import Assemble, Inference, Model
from orthanc_al.settings.sections.wire import Archive, Dicom, Orthanc, Peer, Receive, Storage

__all__ = [
    "LOOPBACK",
    "Archive",
    "Assemble",
    "Dicom",
    "Inference",
    "Learn",
    "Log",
    "Model",
    "Monitor",
    "Orthanc",
    "Peer",
    "Receive",
    "Report",
    "Review",
    "Site",
    "Storage",
    "TargetMinutes",
    "Triage",
    "Web",
]
