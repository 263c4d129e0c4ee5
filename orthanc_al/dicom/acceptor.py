"""The acceptor's side of the wire: pynetdicom's server, set up to take whatever a peer stores.

Every storage SOP class, private and unknown ones too, in the transfer syntax that the requestor names
first: nothing is decoded here, so nothing needs to be known.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from pynetdicom import AE, _config, evt
from pynetdicom.transport import ThreadedAssociationServer

from orthanc_al.dicom.command import VERIFICATION_SOP_CLASS_UID

Handler = tuple[Any, Callable[..., Any]]

_MAXIMUM_LENGTH: Final = 131072
_LONGEST_PDU: Final = 1 << 24  # far above what we ask for: whoever announces more is no DICOM peer
_BACKLOG: Final = 128
_NETWORK_TIMEOUT: Final = 120.0  # an association that is silent for so long is aborted


def _anything(_: str) -> tuple[bool, str]:
    return True, ""


# What pynetdicom offers for taking odd names and unknown classes is set for a whole process.
_config.UNRESTRICTED_STORAGE_SERVICE = True
_config.VALIDATORS["UI"] = _anything  # UIDs longer than the standard allows exist; bytes are bytes
_config.VALIDATORS["AE"] = _anything
_config.LOG_HANDLER_LEVEL = "none"  # its log handlers would format every message


class _Server(ThreadedAssociationServer):
    request_queue_size = _BACKLOG
    daemon_threads = True


class Acceptor:
    """Listens for associations.

    Parameters
    ----------
    ae_title
        Our AE title.
    host, port
        Where to listen; port 0 takes a free one (see `port`).
    maximum_associations
        More are rejected as a passing condition (PS3.8 9.3.4: local limit exceeded).
    handlers
        pynetdicom's event and our function each.

    Raises
    ------
    OSError
        The port can't be had.
    """

    def __init__(
        self, ae_title: str, host: str, port: int, maximum_associations: int, handlers: Sequence[Handler]
    ) -> None:
        self._ae = AE(ae_title)
        self._ae.maximum_pdu_size = _MAXIMUM_LENGTH
        self._ae.maximum_associations = maximum_associations
        self._ae.network_timeout = _NETWORK_TIMEOUT
        self._ae.add_supported_context(VERIFICATION_SOP_CLASS_UID)
        self._server = self._ae.make_server(
            (host, port),
            evt_handlers=[(evt.EVT_CONN_OPEN, _tune), *handlers],
            server_class=_Server,
        )
        self._ae._servers.append(self._server)  # noqa: SLF001 - as AE.start_server does; shutdown wants it
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="acceptor", daemon=True
        )

    def start(self) -> None:
        """Begin to take associations."""
        self._thread.start()

    def stop(self) -> None:
        """Take no new associations, and abort those that are open.

        What an open association has not been told is stored, its peer sends again.
        """
        if self._thread.is_alive():
            self._ae.shutdown()
            self._thread.join()
        else:
            self._server.server_close()


def _tune(event: Any) -> None:
    """Make one connection quick: Nagle's algorithm and delayed acknowledgement cost 44 ms an instance."""
    transport = event.assoc.dul.socket
    connection: socket.socket = transport.socket
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def recv(count: int) -> bytearray:
        return _receive(connection, count)

    # pynetdicom reads 4 KiB at a time and joins them; its reader is replaced on this connection alone.
    transport.recv = recv


def _receive(connection: socket.socket, count: int) -> bytearray:
    """Read ``count`` bytes, fewer where the peer closes the connection before."""
    if count > _LONGEST_PDU:
        raise OSError(f"a PDU of {count} bytes was announced")
    buffer = bytearray(count)
    view = memoryview(buffer)
    read = 0
    while read < count:
        got = connection.recv_into(view[read:])
        if not got:
            break
        read += got
        # Off again by itself after a while; without it a peer with Nagle's algorithm waits 40 ms for us.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    view.release()
    del buffer[read:]
    return buffer
