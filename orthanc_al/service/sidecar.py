"""Which peer an Orthanc is, and what `orthanc-al doctor` says of the two."""

from collections.abc import Iterator
from typing import Final

from orthanc_al.errors import LedgerError, OrthancError
from orthanc_al.ledger import Ledger, watched
from orthanc_al.orthanc import ChangeLog, OrthancClient
from orthanc_al.service import building
from orthanc_al.service.finding import Finding, fine, note, problem
from orthanc_al.settings import Settings

_NOBODY: Final = "orthanc"
_SHOWN: Final = 3


def peer_name(settings: Settings, ae_title: str) -> str:
    """Return the name of the peer that is this Orthanc, which gets nothing back that came from it."""
    if settings.orthanc.peer:
        return settings.orthanc.peer
    named = [peer.name for peer in settings.dicom.peers if peer.ae_title.strip() == ae_title]
    return named[0] if len(named) == 1 else _NOBODY


def examine(settings: Settings) -> list[Finding]:
    """Return the findings on Orthanc."""
    client = building.orthanc(settings)
    if client is None:
        return [fine("orthanc", "none is configured")]
    try:
        return list(_examine(settings, client))
    except OrthancError as error:
        return [problem("orthanc", str(error))]
    finally:
        client.close()


def _examine(settings: Settings, client: OrthancClient) -> Iterator[Finding]:
    can = client.capabilities()
    yield fine("orthanc", str(can))
    for one in client.problems():
        yield note("orthanc", one)
    if not settings.orthanc.watch:
        return
    name = peer_name(settings, can.ae_title)
    if name == _NOBODY and building.names(settings, "destination"):
        yield note(
            "orthanc",
            f"no single peer has its AE title {can.ae_title}: if it is one of them, name it in orthanc.peer, "
            "so that nothing goes back to it",
        )
    yield from _followed(settings, client)


def _followed(settings: Settings, client: OrthancClient) -> Iterator[Finding]:
    try:
        ledger = Ledger.open(settings.storage.ledger)
    except LedgerError:
        return  # told by the findings on the ledger
    with ledger.read() as connection:
        at, failed = watched.cursor(connection), watched.failed(connection)
    ledger.close()
    newest = ChangeLog(client).newest().last
    if at is None:
        yield note("orthanc changes", "not followed yet: `orthanc-al serve` starts the watcher")
    else:
        yield fine("orthanc changes", f"followed up to {at.seq} of {newest}")
    if failed:
        some = "; ".join(f"{one}: {reason}" for one, reason in failed[:_SHOWN])
        yield problem(
            "orthanc instances",
            f"{len(failed)} can't be had ({some}): send them to Orthanc again, or delete them there; they "
            "are tried again every six hours and when the watcher starts",
        )
