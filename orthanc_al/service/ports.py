"""Our ports, and what is said where another program has one of them."""

import socket
import threading
import time
from typing import Final

from orthanc_al.errors import ConfigurationError
from orthanc_al.observe import logger
from orthanc_al.settings import Settings

_WAIT_SECONDS: Final = 10.0
_log = logger("service")


def bind(key: str, host: str, port: int) -> socket.socket:
    """Return a socket that listens at ``host`` and ``port``.

    Parameters
    ----------
    key
        Of the configuration, for the text of the error.

    Raises
    ------
    ConfigurationError
        It can't be had: another program has it, or the host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ConfigurationError(
            f"{key}: nothing can listen at {host}:{port} ({error}). Another program, or another "
            "`orthanc-al serve`, may have the port: end it, or name another host or port."
        ) from error


def wait_for(settings: Settings, stop: threading.Event) -> None:
    """Wait a moment for our ports, which an earlier service that is just ending may still have.

    Raises
    ------
    ConfigurationError
        One is taken all the while.
    """
    until = time.monotonic() + _WAIT_SECONDS
    told = False
    while True:
        try:
            for key, host, port in _wanted(settings):
                bind(key, host, port).close()
        except ConfigurationError as error:
            if time.monotonic() > until:
                raise
            if not told:
                _log.warning("port_not_free", error=str(error), waiting=_WAIT_SECONDS)
            told = True
        else:
            return
        if stop.wait(0.5):
            return


def _wanted(settings: Settings) -> list[tuple[str, str, int]]:
    wanted = [
        ("dicom.port", settings.dicom.host, settings.dicom.port),
        ("web.port", settings.web.host, settings.web.port),
    ]
    if settings.dicom.tls.port:
        wanted.append(("dicom.tls.port", settings.dicom.host, settings.dicom.tls.port))
    if settings.archive.enabled:
        wanted.append(("archive.port", "127.0.0.1", settings.archive.port))
    return wanted
