"""The forwarder: delivers to every destination."""

import sys
import threading
from typing import Any, Final

from orthanc_al.forward import Forwarder
from orthanc_al.ledger import Ledger
from orthanc_al.service import building
from orthanc_al.settings import Settings

_TROUBLE_SECONDS: Final = 2.0
# A lane that has its answer waits this long at most for the interpreter, and not 5 ms.
_SWITCH_SECONDS: Final = 0.0005


def run(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    """Deliver until told to stop."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    forwarder = build(settings, ledger)
    forwarder.start()
    detail.update(state="ready")
    while forwarder.is_alive() and not stop.wait(_TROUBLE_SECONDS):
        trouble = forwarder.trouble()
        detail["trouble"] = "; ".join(f"{name}: {why}" for name, why in trouble.items()) or "none"
    stop.set()  # a line that ended by a slip ends the process: the supervisor starts a whole one
    forwarder.stop()


def build(settings: Settings, ledger: Ledger) -> Forwarder:
    """Return the forwarder, with all peers that get anything."""
    return Forwarder(
        ledger=ledger,
        spool=building.spool(settings),
        peers=[
            building.ae(peer) for peer in settings.dicom.peers if set(peer.roles) & {"destination", "results"}
        ],
        calling_ae=settings.dicom.ae_title,
    )
