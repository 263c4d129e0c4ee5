"""Orthanc's REST API, as far as we use it."""

from orthanc_al.orthanc.changes import ChangeLog
from orthanc_al.orthanc.client import Capabilities, OrthancClient

__all__ = ["Capabilities", "ChangeLog", "OrthancClient"]
