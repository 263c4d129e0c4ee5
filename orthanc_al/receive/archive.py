"""An archive of our own, for where no PACS is configured: it keeps what it gets, a folder a study."""

import re
import uuid
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread
from pynetdicom import evt

from orthanc_al.dicom import part10
from orthanc_al.dicom.acceptor import Acceptor
from orthanc_al.observe import logger

_SUCCESS: Final = 0x0000
_OUT_OF_RESOURCES: Final = 0xA700
_UNKNOWN_STUDY: Final = "study-unknown"
_NAME: Final = re.compile(r"[0-9.]{1,128}")

_log = logger("archive")


class Archive:
    """A Storage SCP that writes Part 10 files as ``folder/<Study Instance UID>/<SOP Instance UID>.dcm``.

    It stands in for a PACS in the demo: it answers no queries, and of two objects under one SOP Instance
    UID it keeps the later one.

    Parameters
    ----------
    ae_title, host, port
        Where it listens, and as whom.
    folder
        Made where it is missing.
    """

    def __init__(self, *, ae_title: str, host: str, port: int, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._acceptor = Acceptor(ae_title, host, port, 16, [(evt.EVT_C_STORE, self._on_store)])

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._acceptor.port

    def start(self) -> None:
        """Begin to take instances."""
        self._acceptor.start()

    def stop(self) -> None:
        """Take no more."""
        self._acceptor.stop()

    def _on_store(self, event: Any) -> int:
        request = event.request
        head = part10.head(
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
            str(event.context.transfer_syntax),
        )
        data_set = request.DataSet.getvalue()
        uid = str(request.AffectedSOPInstanceUID)
        name = uid if _NAME.fullmatch(uid) else uuid.uuid5(uuid.NAMESPACE_OID, uid).hex
        try:
            folder = self._folder / _study_folder(head + data_set)
            folder.mkdir(exist_ok=True)
            part = folder / f"{name}.{uuid.uuid4().hex[:8]}.part"
            part.write_bytes(head + data_set)
            part.rename(folder / f"{name}.dcm")
        except OSError as error:
            _log.error("instance_not_archived", sop_instance_uid=uid, error=str(error))
            return _OUT_OF_RESOURCES
        return _SUCCESS


def _study_folder(part10: bytes) -> str:
    try:
        study = dcmread(BytesIO(part10), stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
        uid = str(study.get("StudyInstanceUID", ""))
    except Exception as error:  # noqa: BLE001 - a named border: pydicom raises anything for a broken data set
        _log.warning("study_not_readable", error=type(error).__name__)
        return _UNKNOWN_STUDY
    return uid if _NAME.fullmatch(uid) and uid.strip(".") else _UNKNOWN_STUDY
