"""Builds from the settings what several processes and commands use; imports nothing heavy."""

from typing import Final

from orthanc_al.dicom import Peer
from orthanc_al.orthanc import OrthancClient
from orthanc_al.settings import Peer as PeerSettings
from orthanc_al.settings import Settings
from orthanc_al.spool import Spool

_GB: Final = 1e9


def ae(peer: PeerSettings) -> Peer:
    """Return a configured peer as the wire's side takes it."""
    return Peer(
        peer.name,
        peer.ae_title,
        peer.host,
        peer.port,
        peer.roles,
        associations=peer.associations,
        timeout_seconds=peer.timeout_seconds,
    )


def spool(settings: Settings) -> Spool:
    """Return the spool."""
    return Spool(settings.storage.spool, int(settings.storage.min_free_gb * _GB))


def names(settings: Settings, role: str) -> tuple[str, ...]:
    """Return the names of the peers with a role."""
    return tuple(peer.name for peer in settings.dicom.peers if role in peer.roles)


def orthanc(settings: Settings) -> OrthancClient | None:
    """Return the client of Orthanc's REST API, None where none is configured."""
    if not settings.orthanc.url:
        return None
    return OrthancClient(
        settings.orthanc.url, settings.orthanc.username, settings.orthanc.password.get_secret_value()
    )
