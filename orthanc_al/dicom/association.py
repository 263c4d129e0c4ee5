"""An association that we request: one thread, plain blocking sockets, data sets sent as they are.

pynetdicom encodes and decodes the association's PDUs; the C-STORE path below it is ours, since
pynetdicom decodes and copies what we only pass on (it stays the acceptor's side).
"""

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext

from orthanc_al.dicom import command, pdata
from orthanc_al.dicom.command import Response
from orthanc_al.domain.identity import IMPLEMENTATION_CLASS_UID
from orthanc_al.errors import PeerUnreachableError

MAXIMUM_CONTEXTS: Final = 128  # context ids are the odd numbers of a byte (PS3.8 9.3.2.2)
_APPLICATION_CONTEXT_NAME: Final = "1.2.840.10008.3.1.1.1"
_MAXIMUM_LENGTH: Final = 131072
_LONGEST_PDU: Final = 1 << 20  # a requestor gets short answers: more than this is no DICOM

_AC, _RJ, _RELEASE_RQ, _RELEASE_RP, _ABORT = 0x02, 0x03, 0x05, 0x06, 0x07


@dataclass(frozen=True, slots=True)
class Proposal:
    """A presentation context that we propose: a SOP class, and transfer syntaxes in order of preference."""

    sop_class_uid: str
    transfer_syntax_uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context that the peer accepted."""

    id: int
    sop_class_uid: str
    transfer_syntax_uid: str


class Association:
    """An open association, made by `open`; a context manager that releases it, or aborts on an error.

    Not to be shared between threads.
    """

    def __init__(self, connection: socket.socket, peer: str, contexts: list[Context], maximum: int) -> None:
        self._socket = connection
        self._peer = peer
        self._maximum = maximum
        self._message_id = 0
        self.contexts = contexts

    @classmethod
    def open(
        cls,
        host: str,
        port: int,
        *,
        called_ae: str,
        calling_ae: str,
        proposals: Sequence[Proposal],
        connect_timeout: float = 10.0,
        answer_timeout: float = 60.0,
    ) -> "Association":
        """Connect and negotiate (PS3.8 7.1).

        Parameters
        ----------
        proposals
            At most 128.
        connect_timeout, answer_timeout
            Seconds that each step may take.

        Raises
        ------
        PeerUnreachableError
            Nobody there, rejected, or no answer in time; the text says which.
        """
        peer = f"{called_ae} at {host}:{port}"
        try:
            connection = socket.create_connection((host, port), connect_timeout)
        except OSError as error:
            raise PeerUnreachableError(f"{peer} can't be reached: {error}") from error
        # Two small writes in a row would wait for the peer's delayed acknowledgement, 40 ms each time.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(answer_timeout)
        self = cls(connection, peer, [], 0)
        try:
            self._send(_associate_rq(called_ae, calling_ae, proposals))
            self._accepted(proposals)
        except BaseException:
            connection.close()
            raise
        return self

    def context(self, sop_class_uid: str, transfer_syntax_uid: str) -> Context | None:
        """Return the accepted context for a SOP class in just this syntax, None where there is none."""
        for context in self.contexts:
            if (context.sop_class_uid, context.transfer_syntax_uid) == (sop_class_uid, transfer_syntax_uid):
                return context
        return None

    def store(self, context: Context, sop_instance_uid: str, data_set: bytes | memoryview) -> Response:
        """Send a data set as it is (C-STORE, PS3.7 9.1.1) and wait for the answer.

        Raises
        ------
        PeerUnreachableError
            The association ended; whether the peer has the object is not known.
        """
        self._message_id = self._message_id % 0xFFFF + 1
        request = command.c_store_rq(self._message_id, context.sop_class_uid, sop_instance_uid)
        return self._exchange(context.id, request, data_set)

    def echo(self) -> Response:
        """Ask whether the peer is there (C-ECHO); the verification context must have been proposed.

        Raises
        ------
        PeerUnreachableError
            The context was not accepted, or the association ended.
        """
        ids = [c.id for c in self.contexts if c.sop_class_uid == command.VERIFICATION_SOP_CLASS_UID]
        if not ids:
            self._lost("it does not accept the verification SOP class (C-ECHO)")
        self._message_id = self._message_id % 0xFFFF + 1
        return self._exchange(ids[0], command.c_echo_rq(self._message_id), None)

    def release(self) -> None:
        """End the association in good order (PS3.8 7.2); an error on the way does not matter any more."""
        try:
            self._send(struct.pack(">BBLL", _RELEASE_RQ, 0, 4, 0))
            while self._receive()[0] not in (_RELEASE_RP, _ABORT):
                continue
        except (OSError, PeerUnreachableError):
            pass
        finally:
            self._socket.close()

    def abort(self) -> None:
        """End the association at once (A-ABORT, PS3.8 7.3)."""
        try:
            self._socket.sendall(struct.pack(">BBLBBBB", _ABORT, 0, 4, 0, 0, 0, 0))
        except OSError:
            pass
        finally:
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.release()
        else:
            self.abort()

    def _exchange(self, context_id: int, request: bytes, data_set: bytes | memoryview | None) -> Response:
        parts = list(pdata.fragments(context_id, request, self._maximum, command=True))
        for header, part in parts:
            self._send(header, part)
        if data_set is not None:
            for header, part in pdata.fragments(context_id, data_set, self._maximum, command=False):
                self._send(header, part)
        response = self._response()
        if response.message_id != self._message_id:
            self._lost(f"it answers message {response.message_id} instead of {self._message_id}")
        return response

    def _response(self) -> Response:
        collected = b""
        while True:
            kind, body = self._receive()
            if kind != pdata.P_DATA_TF:
                self._lost({_ABORT: "it aborted the association"}.get(kind, "it ended the association"))
            try:
                for _, is_command, last, part in pdata.values(body):
                    collected += part if is_command else b""
                    if is_command and last:
                        return command.decode_response(collected)
            except ValueError as error:
                self._lost(f"its answer can't be read ({error})")

    def _accepted(self, proposals: Sequence[Proposal]) -> None:
        kind, body = self._receive()
        if kind not in (_AC, _RJ):
            self._lost("it does not answer the association request as DICOM does")
        try:
            answer: Any = A_ASSOCIATE_AC() if kind == _AC else A_ASSOCIATE_RJ()
            answer.decode(struct.pack(">BBL", kind, 0, len(body)) + body)
            primitive: Any = answer.to_primitive()
            why = (
                f"it rejects the association: {answer.result_str}, {answer.reason_str}" if kind == _RJ else ""
            )
            if not why:
                self._maximum = primitive.maximum_length_received or 0
                self.contexts += _contexts(primitive, proposals)
        except Exception as error:  # pynetdicom's decoder raises anything for what is not a PDU
            raise PeerUnreachableError(f"{self._peer}: its answer can't be read ({error!r})") from error
        if why:
            self._lost(why)

    def _send(self, *parts: bytes | memoryview) -> None:
        views = [memoryview(part) for part in parts if len(part)]
        try:
            while views:
                sent = self._socket.sendmsg(views)
                while views and sent >= views[0].nbytes:
                    sent -= views.pop(0).nbytes
                if views:
                    views[0] = views[0][sent:]
        except OSError as error:
            raise PeerUnreachableError(f"{self._peer}: the connection broke ({error})") from error

    def _receive(self) -> tuple[int, bytes]:
        kind, _, length = struct.unpack(">BBL", self._read(6))
        if length > _LONGEST_PDU:
            self._lost(f"it announces a PDU of {length} bytes")
        return kind, self._read(length)

    def _read(self, count: int) -> bytes:
        read = bytearray()
        try:
            while len(read) < count:
                part = self._socket.recv(count - len(read))
                if not part:
                    self._lost("it closed the connection")
                read += part
                # Linux turns quick acknowledgement off by itself; a peer with Nagle's algorithm on
                # would wait 40 ms for ours in each answer.
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except OSError as error:
            raise PeerUnreachableError(f"{self._peer}: no answer ({error})") from error
        return bytes(read)

    def _lost(self, why: str) -> NoReturn:
        raise PeerUnreachableError(f"{self._peer}: {why}")


def _contexts(accept: Any, proposals: Sequence[Proposal]) -> list[Context]:
    return [
        Context(
            result.context_id,
            proposals[(result.context_id - 1) // 2].sop_class_uid,
            str(result.transfer_syntax[0]),
        )
        for result in accept.presentation_context_definition_results_list
        if result.result == 0x00
    ]


def _associate_rq(called_ae: str, calling_ae: str, proposals: Sequence[Proposal]) -> bytes:
    if not 1 <= len(proposals) <= MAXIMUM_CONTEXTS:
        raise ValueError(f"an association has 1 to {MAXIMUM_CONTEXTS} contexts, not {len(proposals)}")
    contexts = []
    for number, proposal in enumerate(proposals):
        context = PresentationContext()
        context.context_id = 2 * number + 1
        context.abstract_syntax = proposal.sop_class_uid
        context.transfer_syntax = list(proposal.transfer_syntax_uids)
        contexts.append(context)
    length = MaximumLengthNotification()
    length.maximum_length_received = _MAXIMUM_LENGTH
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    primitive: Any = A_ASSOCIATE()
    primitive.application_context_name = _APPLICATION_CONTEXT_NAME
    primitive.calling_ae_title = calling_ae
    primitive.called_ae_title = called_ae
    primitive.presentation_context_definition_list = contexts
    primitive.user_information = [length, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())
