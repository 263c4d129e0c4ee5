"""An acceptor's association on one thread, without polling: pynetdicom's state machine, our data path.

The one place that speaks to pynetdicom's internals. Stock pynetdicom runs two threads an association, each
looking every millisecond whether there is something to do; here the association's thread sleeps until a
byte comes or another thread rings the bell. ACSE, release, abort, C-ECHO and every request but C-STORE
are pynetdicom's still, by its own state machine (PS3.8 9.2).
"""

# ruff: noqa: SLF001 - that is what this module is for

import os
import queue
import threading
from collections.abc import Callable
from itertools import count
from typing import Any, Final, cast

import pynetdicom
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import StateMachine
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler

from orthanc_al.dicom.inbox import Inbox
from orthanc_al.dicom.stream import Stream, wait
from orthanc_al.observe import logger

TESTED: Final = ((3, 0), (3, 1))  # from the one on, up to before the other
_ESTABLISHED: Final = "Sta6"
_AWAITING_CLOSE: Final = "Sta13"
_CONNECTION_CLOSED: Final = "Evt17"
_ARTIM_EXPIRED: Final = "Evt18"
_INVALID_PDU: Final = "Evt19"
_ABORT_SECONDS: Final = 1.0
_RELIED_ON: Final = {
    Association: (
        "_serve_request",
        "run_reactor",
        "set_socket",
        "kill",
        "bind",
    ),
    DULServiceProvider: ("_process_recv_primitive", "_is_transport_event", "_read_pdu_data", "receive_pdu"),
    StateMachine: ("do_action",),
    RequestHandler: ("_create_association", "handle"),
    AssociationServer: ("finish_request", "shutdown_request"),
    AssociationSocket: ("recv", "close", "_shutdown_socket"),
}

_numbers = count(1)
_log = logger("dicom")


def objection() -> str | None:
    """Return why this pynetdicom can't be used like that, None where it can."""
    version = pynetdicom.__version__
    try:
        numbers = tuple(int(part) for part in version.split(".")[:2])
    except ValueError:
        numbers = ()
    if not TESTED[0] <= numbers < TESTED[1]:
        return f"pynetdicom is {version}, and the fast data path is tested with 3.0 alone"
    missing = [
        f"{owner.__name__}.{name}"
        for owner, names in _RELIED_ON.items()
        for name in names
        if not hasattr(owner, name)
    ]
    return f"pynetdicom {version} has no {', '.join(missing)}" if missing else None


class _RingingQueue(queue.Queue[Any]):
    """Rings a bell whenever something is put into it."""

    def __init__(self, bell: int) -> None:
        super().__init__()
        self._bell = bell

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put it there, and ring."""
        super().put(item, block, timeout)
        try:
            os.eventfd_write(self._bell, 1)
        except OSError:
            return  # the association is over


class OneThreadAssociation(Association):
    """An association that does everything on its own thread.

    Handlers must not wait for a message of the same association (its thread is theirs); other threads may
    send and wait as with any association of pynetdicom.
    """

    dul: Any
    _server: Any

    def __init__(self, ae: Any, inbox: Inbox) -> None:
        super().__init__(ae, "acceptor")
        self._inbox = inbox
        self._stream: Stream | None = None
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.dul.to_provider_queue = _RingingQueue(self._bell)
        self._started_dul = True
        self._dul_ready.set()

    def open_stream(self) -> None:
        """Read by a stream of our own from now on."""
        transport = self.dul.socket
        self._stream = Stream(transport.socket, lambda request: self._inbox(self, request))
        transport.recv = self._stream.recv

    def run_reactor(self) -> None:
        """Live from the connection's opening to its end."""
        try:
            while not self.dul._kill_thread:
                self._turn()
        except Exception as error:  # noqa: BLE001 - a named border: one association must not harm another
            _log.error("association_crashed", error=f"{type(error).__name__}: {error}", exc_info=True)
            self.is_aborted, self.is_established = True, False
            evt.trigger(self, evt.EVT_CONN_CLOSE, {"address": ("", 0)})
        finally:
            self._end()

    def abort(self, block: bool = True) -> None:
        """Send an A-ABORT; from another thread, wait a moment until it is out."""
        if self._sent_abort or self.is_released:
            return
        self._sent_abort = True
        self._reactor_checkpoint.set()
        self.acse.send_abort(0x00)
        evt.trigger(self, evt.EVT_ABORTED, {})
        if block and threading.current_thread() is not self and self.is_alive():
            self.join(_ABORT_SECONDS)
            if self.is_alive():
                self.dul.socket._shutdown_socket()

    def _turn(self) -> None:
        """Send what is to be sent, else take what comes; then let state machine and services act on it."""
        dul = self.dul
        if dul.event_queue.empty() and not dul._process_recv_primitive():
            self._receive()
        while not dul.event_queue.empty() and not dul._kill_thread:
            dul.state_machine.do_action(dul.event_queue.get(block=False))
        self._serve()

    def _receive(self) -> None:
        dul, stream = self.dul, self._stream
        state = dul.state_machine.current_state
        if state == _AWAITING_CLOSE:
            dul._is_transport_event()  # reads what still comes, then closes
            return
        if stream is None or dul.socket is None or dul.socket.socket is None:
            dul.event_queue.put(_CONNECTION_CLOSED)
            return
        if not stream.has_more() and not self._wait(established=state == _ESTABLISHED):
            return
        if state != _ESTABLISHED:
            dul._read_pdu_data()
            return
        self._take(stream)

    def _take(self, stream: Stream) -> None:
        """Store what comes by C-STORE, and let pynetdicom read what is not."""
        try:
            if stream.advance():
                self.dul._read_pdu_data()
            elif not stream.fill():
                self.dul.event_queue.put(_CONNECTION_CLOSED)
            elif stream.advance():
                self.dul._read_pdu_data()
        except ValueError as error:
            _log.error("peer_breaks_the_protocol", calling_ae=self.requestor.ae_title, error=str(error))
            self.dul.event_queue.put(_INVALID_PDU)
        except OSError as error:
            _log.warning("connection_broken", calling_ae=self.requestor.ae_title, error=str(error))
            self.dul.event_queue.put(_CONNECTION_CLOSED)

    def _wait(self, *, established: bool) -> bool:
        """Return whether there is something to read; see to the time-outs."""
        limit = self.network_timeout if established else self.acse_timeout
        self._is_paused = True
        came = wait(self.dul.socket.socket, self._bell, limit if limit is not None else 3600.0)
        self._is_paused = False
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            if came:
                return True
            if established:
                self.abort()  # silent for too long
            else:
                self.dul.event_queue.put(_ARTIM_EXPIRED)
        return False

    def _serve(self) -> None:
        """Do what pynetdicom's own loop does once a millisecond."""
        if self.requestor.primitive is None:
            primitive = self.dul.receive_pdu(wait=False)
            if isinstance(primitive, A_ASSOCIATE):
                self._negotiate(primitive)
            return
        if self.is_established and self._reactor_checkpoint.is_set():
            context_id, message = self.dimse.get_msg(block=False)
            if message:
                self._serve_request(message, cast("int", context_id))
        if self.is_established and self.acse.is_release_requested():
            self.acse.send_release(is_response=True)
            self.is_released, self.is_established = True, False
            evt.trigger(self, evt.EVT_RELEASED, {})
        elif not self._sent_abort and self.acse.is_aborted():
            self.dul.receive_pdu(wait=False)  # for who listens to EVT_ACSE_RECV
            self.is_aborted, self.is_established = True, False
            evt.trigger(self, evt.EVT_ABORTED, {})

    def _negotiate(self, primitive: A_ASSOCIATE) -> None:
        self.requestor.primitive = primitive
        evt.trigger(self, evt.EVT_REQUESTED, {})
        if not (self.is_aborted or self.is_rejected):  # by who was told
            self.acse.negotiate_association()
        if self._stream is not None:
            syntaxes = {number: str(one.transfer_syntax[0]) for number, one in self._accepted_cx.items()}
            self._stream.accept(syntaxes)

    def _end(self) -> None:
        if self._stream is not None:
            self._stream.close()
        transport = self.dul.socket
        if transport is not None and transport.socket is not None:
            self._server.shutdown_request(transport.socket)
        os.close(self._bell)


def handler(inbox: Inbox) -> Callable[..., RequestHandler]:
    """Return what makes an association of each connection, for pynetdicom's server."""

    class _Handler(RequestHandler):
        def _create_association(self) -> OneThreadAssociation:
            association = OneThreadAssociation(self.ae, inbox)
            association._server = self.server
            association.name = f"AcceptorThread-{next(_numbers)}"  # pynetdicom finds it by that
            association.set_socket(AssociationSocket(association, client_socket=self.request))
            us, server = association.acceptor, self.server
            us.maximum_length = self.ae.maximum_pdu_size
            us.ae_title = server.ae_title
            us.address_info = self.local
            us.implementation_class_uid = self.ae.implementation_class_uid
            us.implementation_version_name = self.ae.implementation_version_name
            us.supported_contexts = server.contexts  # shared: nothing changes them
            association.requestor.address_info = self.remote
            for event, bound in server._handlers.items():
                several: Any = [bound] if event.is_intervention else bound
                for one in several:
                    association.bind(event, *one)
            association.open_stream()
            return association

    return _Handler
