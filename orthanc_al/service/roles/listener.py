"""The listener: takes studies in."""

import sys
import threading
from typing import Any, Final

from orthanc_al.ledger import Ledger
from orthanc_al.observe import logger
from orthanc_al.receive import Listener, Preference
from orthanc_al.service import building, ground, ports
from orthanc_al.settings import Settings

# A thread that was in a call of the system waits so long for one that computes (5 ms by default): the
# ledger's writer would hold up each read, write and fsync of the associations.
_SWITCH_SECONDS: Final = 0.0002

_log = logger("service")


def run(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    """Take studies in until told to stop."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    ledger.precedence.go_first()
    ports.bind("dicom.port", settings.dicom.host, settings.dicom.port).close()  # for what it says if taken
    for place, doubt in ground.doubts(settings):
        _log.warning("durability_in_doubt", place=place, reason=doubt)
    listener = build(settings, ledger)
    listener.start()
    detail.update(
        state="ready",
        port=settings.dicom.port,
        accept=settings.dicom.accept,
        data_path=listener.data_path if listener.objection is None else f"plain: {listener.objection}",
    )
    stop.wait()
    listener.stop()


def build(settings: Settings, ledger: Ledger) -> Listener:
    """Return the listener."""
    places = [building.ae(settings, peer) for peer in settings.dicom.peers if "destination" in peer.roles]
    return Listener(
        ae_title=settings.dicom.ae_title,
        host=settings.dicom.host,
        port=settings.dicom.port,
        peers=[building.ae(settings, peer) for peer in settings.dicom.peers],
        accept=settings.dicom.accept,
        spool=building.spool(settings),
        ledger=ledger,
        destinations=building.names(settings, "destination"),
        maximum_associations=settings.dicom.max_associations,
        prepared_files=settings.storage.prepared_files,
        data_path=settings.receive.data_path,
        preference=Preference(ledger, places) if places else None,
        tls=building.listening_tls(settings),
        tls_port=settings.dicom.tls.port,
    )
