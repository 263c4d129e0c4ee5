"""The watcher: takes studies from Orthanc (sidecar)."""

import threading
import time
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from orthanc_al.errors import OrthancError, StorageError
from orthanc_al.ledger import Ledger, watched
from orthanc_al.observe import logger
from orthanc_al.orthanc import ChangeLog, OrthancClient
from orthanc_al.receive import Watcher
from orthanc_al.service import building, sidecar
from orthanc_al.settings import Settings

_LOOK_SECONDS: Final = 5.0
_HINT_SECONDS: Final = 0.25
_SWEEP_SECONDS: Final = 6 * 3600.0
_LONGEST_WAIT: Final = 60.0
_log = logger("service")


def run(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    """Follow Orthanc's changes until told to stop; wait longer and longer while it is away."""
    client = building.orthanc(settings)
    if client is None:  # the settings don't let this be
        return
    wait = 1.0
    while not stop.is_set():
        begun = time.monotonic()
        try:
            _follow(settings, ledger, client, stop, detail)
        except (OrthancError, StorageError, SQLAlchemyError) as error:
            if time.monotonic() - begun > _LONGEST_WAIT:
                wait = 1.0
            detail["state"] = f"takes nothing from Orthanc: {error}"
            _log.warning("orthanc_not_followed", error=str(error), again_in=wait)
            stop.wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
    client.close()


def _follow(
    settings: Settings, ledger: Ledger, client: OrthancClient, stop: threading.Event, detail: dict[str, Any]
) -> None:
    watcher = build(settings, ledger, client, stop)
    watcher.start()
    sweep_at = time.monotonic() + _SWEEP_SECONDS
    detail.update(state="ready", orthanc=str(client.capabilities()))
    while not stop.is_set() and time.monotonic() < sweep_at:
        if not watcher.follow():
            _wait(ledger, stop)


def _wait(ledger: Ledger, stop: threading.Event) -> None:
    """Wait for the next look; a hint of Orthanc's plugin ends it at once."""
    before = _hint(ledger)
    until = time.monotonic() + _LOOK_SECONDS
    while time.monotonic() < until and not stop.wait(_HINT_SECONDS):
        if _hint(ledger) != before:
            return


def _hint(ledger: Ledger) -> str:
    with ledger.read() as connection:
        return watched.hint(connection)


def build(settings: Settings, ledger: Ledger, client: OrthancClient, stop: threading.Event) -> Watcher:
    """Return the watcher.

    Raises
    ------
    OrthancError
        Orthanc can't be asked who it is.
    """
    can = client.capabilities()
    return Watcher(
        ChangeLog(client),
        building.spool(settings),
        ledger,
        destinations=building.names(settings, "destination"),
        source=sidecar.peer_name(settings, can.ae_title),
        orthanc_ae=can.ae_title,
        own_ae=settings.dicom.ae_title,
        days=settings.orthanc.watch_days,
        stop=stop,
    )
