"""The acceptor's side of the wire: pynetdicom's server, set up to take whatever a peer stores.

Every storage SOP class, private and unknown ones too, in the transfer syntax that the requestor names
first: nothing is decoded here, so nothing needs to be known.
"""

import gc
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from pynetdicom import AE, _config, evt
from pynetdicom.transport import AssociationServer

from orthanc_al.dicom import one_thread
from orthanc_al.dicom.command import VERIFICATION_SOP_CLASS_UID, StoreRequest
from orthanc_al.dicom.inbox import DataPath, Inbox
from orthanc_al.dicom.stream import receive
from orthanc_al.observe import logger

Handler = tuple[Any, Callable[..., Any]]
Preference = Callable[[str, Sequence[str]], Sequence[str]]
"""Takes a SOP class and the transfer syntaxes that a requestor proposes, in its order; returns those that
we would have, in the order that we prefer. None of them: the requestor's order stands, since what is sent
is taken."""

_MAXIMUM_LENGTH: Final = 131072
_BACKLOG: Final = 128
_COLLECT_AFTER: Final = 64  # associations
_NETWORK_TIMEOUT: Final = 120.0  # an association that is silent for so long is aborted
_READ_TIMEOUT: Final = struct.pack("ll", 120, 0)  # the same, within a PDU (SO_RCVTIMEO: struct timeval)

_log = logger("dicom")


def _anything(_: str) -> tuple[bool, str]:
    return True, ""


# What pynetdicom offers for taking odd names and unknown classes is set for a whole process.
_config.UNRESTRICTED_STORAGE_SERVICE = True
_config.VALIDATORS["UI"] = _anything  # UIDs longer than the standard allows exist; bytes are bytes
_config.VALIDATORS["AE"] = _anything
_config.LOG_HANDLER_LEVEL = "none"  # its log handlers would format every message


class _Server(AssociationServer):
    """Makes an association of each connection; that has a thread of its own, so this needs none more."""

    request_queue_size = _BACKLOG
    _since_collection = 0

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        # The handshake is the association's thread's: a caller that begins none must not hold up others.
        assert self.socket is not None, "it listens"
        connection, address = self.socket.accept()
        if self.ssl_context:
            connection = self.ssl_context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        super().process_request(request, client_address)
        self._since_collection += 1

    def service_actions(self) -> None:
        # pynetdicom's associations are cycles; its own server stops all threads for them every half minute.
        if self._since_collection >= _COLLECT_AFTER:
            self._since_collection = 0
            gc.collect()

    def handle_error(self, request: Any, client_address: Any) -> None:
        del request
        _log.error("connection_not_served", address=str(client_address[0]), exc_info=True)


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
    inbox
        Takes what comes by C-STORE; None where a handler of `evt.EVT_C_STORE` does.
    data_path
        ``fast``: by `orthanc_al.dicom.one_thread`, where this pynetdicom has what that relies on (see
        `objection`); ``plain``: by pynetdicom alone, which keeps a data set in memory until it is whole.
    preference
        Which of the proposed transfer syntaxes are accepted.
    tls
        Speak TLS as this says (`orthanc_al.dicom.tls`), None: no TLS.
    services
        SOP classes beside storage that the handlers are for.

    Raises
    ------
    OSError
        The port can't be had.
    """

    def __init__(
        self,
        ae_title: str,
        host: str,
        port: int,
        maximum_associations: int,
        handlers: Sequence[Handler],
        *,
        inbox: Inbox | None = None,
        data_path: DataPath = "plain",
        preference: Preference | None = None,
        tls: ssl.SSLContext | None = None,
        services: Sequence[str] = (),
    ) -> None:
        self.objection = one_thread.objection() if data_path == "fast" else None
        self.data_path: DataPath = "plain" if self.objection or inbox is None else data_path
        self._ae = AE(ae_title)
        self._ae.maximum_pdu_size = _MAXIMUM_LENGTH
        self._ae.maximum_associations = maximum_associations
        self._ae.network_timeout = _NETWORK_TIMEOUT
        self._ae.add_supported_context(VERIFICATION_SOP_CLASS_UID)
        for (
            sop_class
        ) in services:  # in either role: who commits itself to what we sent opens an association too
            self._ae.add_supported_context(sop_class, scu_role=True, scp_role=True)
        ours: list[Handler] = [(evt.EVT_CONN_OPEN, _tune)]
        if preference is not None:
            ours.append((evt.EVT_REQUESTED, lambda event: _prefer(event, preference)))
        if inbox is not None:
            ours.append((evt.EVT_C_STORE, lambda event: _store(event, inbox)))
        fast = inbox is not None and self.data_path == "fast"
        self._server = self._ae.make_server(
            (host, port),
            evt_handlers=[*ours, *handlers],
            server_class=_Server,
            ssl_context=tls,
            request_handler=one_thread.handler(inbox) if fast and inbox else None,
        )
        servers: list[Any] = self._ae._servers  # noqa: SLF001 - as AE.start_server does; shutdown wants it
        servers.append(self._server)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="acceptor", daemon=True
        )

    def start(self) -> None:
        """Begin to take associations."""
        if self.objection:
            _log.warning("fast_data_path_not_used", reason=self.objection)
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


def _store(event: Any, inbox: Inbox) -> int:
    """Hand on what pynetdicom read by itself."""
    request = event.request
    wanted = StoreRequest(
        request.MessageID,
        str(request.AffectedSOPClassUID),
        str(request.AffectedSOPInstanceUID),
        str(event.context.transfer_syntax),
    )
    incoming = inbox(event.assoc, wanted)
    with request.DataSet.getbuffer() as data_set:
        incoming.write([data_set])
    return incoming.finish()


def _prefer(event: Any, preference: Preference) -> None:
    """Put the syntaxes that we would have first into what the requestor proposes."""
    for context in event.assoc.requestor.primitive.presentation_context_definition_list:
        proposed = [str(uid) for uid in context.transfer_syntax]
        wanted = list(preference(str(context.abstract_syntax), proposed))
        if wanted:
            context.transfer_syntax = wanted


def _tune(event: Any) -> None:
    """Make one connection quick: Nagle's algorithm and delayed acknowledgement cost 44 ms an instance."""
    transport = event.assoc.dul.socket
    connection: socket.socket = transport.socket
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _READ_TIMEOUT)
    if isinstance(event.assoc, one_thread.OneThreadAssociation):
        return

    def recv(count: int) -> bytearray:
        return receive(connection, count)

    # pynetdicom reads 4 KiB at a time and joins them; its reader is replaced on this connection alone.
    transport.recv = recv
