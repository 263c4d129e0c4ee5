"""Builds from the settings what several processes and commands use; imports nothing heavy."""

import ssl
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orthanc_al.dicom import Peer, tls
from orthanc_al.errors import ConfigurationError
from orthanc_al.settings import Peer as PeerSettings
from orthanc_al.settings import Settings
from orthanc_al.spool import Spool

if TYPE_CHECKING:
    from orthanc_al.orthanc import OrthancClient

_GB: Final = 1e9


def ae(settings: Settings, peer: PeerSettings) -> Peer:
    """Return a configured peer as the wire's side takes it.

    Raises
    ------
    ConfigurationError
        It is to be called by TLS, and our certificate can't be used.
    """
    return Peer(
        peer.name,
        peer.ae_title,
        peer.host,
        peer.port,
        peer.roles,
        associations=peer.associations,
        timeout_seconds=peer.timeout_seconds,
        transfer_syntaxes=peer.transfer_syntaxes,
        query=peer.query,
        commitment=peer.commitment,
        tls=_tls(settings, as_server=False) if peer.tls else None,
    )


def listening_tls(settings: Settings) -> ssl.SSLContext | None:
    """Return how TLS is spoken with those who call us, None where there is no port for it.

    Raises
    ------
    ConfigurationError
        Our certificate can't be used.
    """
    return _tls(settings, as_server=True) if settings.dicom.tls.port else None


def _tls(settings: Settings, *, as_server: bool) -> ssl.SSLContext:
    own = settings.dicom.tls
    try:
        return _context(own.certificate, own.key, own.ca, own.check_host, as_server)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError(
            f"dicom.tls: certificate {own.certificate}, key {own.key} and ca {own.ca} can't be used: {error}"
        ) from error


@cache
def _context(certificate: Path, key: Path, ca: Path, check_host: bool, as_server: bool) -> ssl.SSLContext:
    if as_server:
        return tls.server(certificate, key, ca)
    return tls.client(certificate, key, ca, check_host=check_host)


def spool(settings: Settings) -> Spool:
    """Return the spool."""
    return Spool(settings.storage.spool, int(settings.storage.min_free_gb * _GB))


def committing(settings: Settings) -> tuple[str, ...]:
    """Return the names of the peers that are asked for storage commitment."""
    return tuple(peer.name for peer in settings.dicom.peers if peer.commitment)


def names(settings: Settings, role: str) -> tuple[str, ...]:
    """Return the names of the peers with a role."""
    return tuple(peer.name for peer in settings.dicom.peers if role in peer.roles)


def orthanc(settings: Settings) -> "OrthancClient | None":
    """Return the client of Orthanc's REST API, None where none is configured."""
    if not settings.orthanc.url:
        return None
    from orthanc_al.orthanc import OrthancClient  # noqa: PLC0415 - its HTTP client is not for the listener

    return OrthancClient(
        settings.orthanc.url, settings.orthanc.username, settings.orthanc.password.get_secret_value()
    )
