"""Taking instances in: bytes into the spool, then the answer; nothing is decoded on this path."""

from orthanc_al.receive.archive import Archive
from orthanc_al.receive.intake import Intake
from orthanc_al.receive.preference import Preference
from orthanc_al.receive.recorder import Recorder
from orthanc_al.receive.recovery import recover
from orthanc_al.receive.session import Session
from orthanc_al.receive.storage_scp import Listener
from orthanc_al.receive.watcher import Watcher

__all__ = ["Archive", "Intake", "Listener", "Preference", "Recorder", "Session", "Watcher", "recover"]
