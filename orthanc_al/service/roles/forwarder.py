"""The forwarder: delivers to every destination."""

import sys
import threading
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from orthanc_al.forward import Commitments, Forwarder, Syntaxes, Trouble
from orthanc_al.ledger import Ledger, destinations
from orthanc_al.observe import logger
from orthanc_al.service import building
from orthanc_al.settings import Settings

_TROUBLE_SECONDS: Final = 2.0
# A lane that has its answer waits this long at most for the interpreter, and not 5 ms.
_SWITCH_SECONDS: Final = 0.0005

_log = logger("forward")


def run(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    """Deliver until told to stop."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    ledger.precedence.go_first()
    with ledger.write() as connection:  # an earlier forwarder's troubles may be over
        destinations.back(connection, sorted(destinations.known(connection)))
    forwarder = build(settings, ledger)
    forwarder.start()
    for beside in _beside(settings, ledger, stop):
        threading.Thread(target=beside.run, name=type(beside).__name__, daemon=True).start()
    detail.update(state="ready")
    told: Mapping[str, Trouble] = {}
    while forwarder.is_alive() and not stop.wait(_TROUBLE_SECONDS):
        troubles = forwarder.troubles()
        detail["trouble"] = "; ".join(f"{name}: {one.reason}" for name, one in troubles.items()) or "none"
        told = _tell(ledger, told, troubles)
    stop.set()  # a line that ended by a slip ends the process: the supervisor starts a whole one
    forwarder.stop()


def _beside(settings: Settings, ledger: Ledger, stop: threading.Event) -> tuple[Commitments, Syntaxes]:
    """Return what talks with peers of other things than deliveries."""
    peers = [building.ae(settings, peer) for peer in settings.dicom.peers]
    title = settings.dicom.ae_title
    places = [peer for peer in peers if "destination" in peer.roles]
    return Commitments(ledger, peers, title, stop), Syntaxes(ledger, places, title, stop)


def _tell(
    ledger: Ledger, before: Mapping[str, Trouble], troubles: Mapping[str, Trouble]
) -> Mapping[str, Trouble]:
    """Write what has changed about destinations; return what the ledger has now."""
    if troubles == before:
        return before
    try:
        with ledger.write() as connection:
            for name, one in troubles.items():
                destinations.in_trouble(connection, name, one.fault, one.reason, one.since, one.failures)
            destinations.back(connection, sorted(before.keys() - troubles.keys()))
    except SQLAlchemyError as error:
        _log.warning("trouble_not_written", error=str(error))
        return before
    return troubles


def build(settings: Settings, ledger: Ledger) -> Forwarder:
    """Return the forwarder, with all peers that get anything."""
    return Forwarder(
        ledger=ledger,
        spool=building.spool(settings),
        peers=[
            building.ae(settings, peer)
            for peer in settings.dicom.peers
            if set(peer.roles) & {"destination", "results"}
        ],
        calling_ae=settings.dicom.ae_title,
    )
