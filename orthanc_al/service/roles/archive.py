"""The small archive of our own."""

import threading
from typing import Any, Final

from orthanc_al.ledger import Ledger
from orthanc_al.receive import Archive
from orthanc_al.service import ports
from orthanc_al.settings import Settings

ARCHIVE_AE: Final = "ARCHIVE"


def run(settings: Settings, _: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    """Archive what is sent until told to stop."""
    ports.bind("archive.port", "127.0.0.1", settings.archive.port).close()  # for what it says if taken
    archive = Archive(
        ae_title=ARCHIVE_AE, host="127.0.0.1", port=settings.archive.port, folder=settings.archive.folder
    )
    archive.start()
    detail.update(state="ready", port=settings.archive.port)
    stop.wait()
    archive.stop()
