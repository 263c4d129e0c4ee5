"""An association that we request: one thread, plain blocking sockets, data sets sent as they are.

pynetdicom encodes and decodes the association's PDUs; the C-STORE path below it is ours, since
pynetdicom decodes and copies what we only pass on (it stays the acceptor's side).
"""

import ssl
import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from types import TracebackType
from typing import Final, Self

from orthanc_al.dicom import command, negotiation, pdata
from orthanc_al.dicom.command import Response
from orthanc_al.dicom.connection import Connection, Part
from orthanc_al.dicom.faults import Fault
from orthanc_al.dicom.negotiation import MAXIMUM_CONTEXTS, Context, Proposal, Rejected
from orthanc_al.errors import PeerUnreachableError

__all__ = ["MAXIMUM_CONTEXTS", "Association", "Context", "Proposal"]

_RELEASE_RQ, _RELEASE_RP, _ABORT = 0x05, 0x06, 0x07
_SERVICE_PROVIDER: Final = 2
_ABORT_REASONS: Final = {  # PS3.8 9.3.8
    1: "unrecognised PDU",
    2: "unexpected PDU",
    4: "unrecognised PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}


class Association:
    """An open association, made by `open`; a context manager that releases it, or aborts on an error.

    Not to be shared between threads, but for `interrupt`.
    """

    def __init__(self, connection: Connection, contexts: Sequence[Context], maximum: int) -> None:
        self._connection = connection
        self._maximum = maximum
        self._message_id = 0
        self.contexts = list(contexts)

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
        opening_timeout: float | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> "Association":
        """Connect and negotiate (PS3.8 7.1).

        Parameters
        ----------
        proposals
            At most 128.
        connect_timeout, answer_timeout
            Seconds that each step may take.
        opening_timeout
            Seconds for the answer to the request, where it is not as long as for all others.
        tls
            Speak TLS as this says (`orthanc_al.dicom.tls`).

        Raises
        ------
        PeerUnreachableError
            Nobody there, rejected, or no answer in time; text and fault say which.
        """
        request = negotiation.request(called_ae, calling_ae, proposals)
        peer = f"{called_ae} at {host}:{port}"
        connection = Connection.open(
            host, port, peer, connect_timeout, opening_timeout or answer_timeout, tls
        )
        try:
            connection.send([request])
            kind, body = connection.receive()
            if kind == _ABORT:
                connection.lost("it aborts instead of an answer to the request", _aborted(body)[1])
            answer = negotiation.answer(kind, body, proposals)
            if isinstance(answer, Rejected):
                fault = Fault.REJECTED_PERMANENT if answer.permanent else Fault.REJECTED_TRANSIENT
                connection.lost(f"it rejects the association: {answer.why}", fault)
        except ValueError as error:
            connection.close()
            raise PeerUnreachableError(f"{peer}: {error}", Fault.NOT_DICOM) from error
        except BaseException:
            connection.close()
            raise
        connection.wait_at_most(answer_timeout)
        return cls(connection, answer.contexts, answer.maximum_length)

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
            self._connection.lost("it does not accept the verification SOP class (C-ECHO)", Fault.NOT_DICOM)
        self._message_id = self._message_id % 0xFFFF + 1
        return self._exchange(ids[0], command.c_echo_rq(self._message_id), None)

    def release(self) -> None:
        """End the association in good order (PS3.8 7.2); an error on the way does not matter any more."""
        try:
            self._connection.send([struct.pack(">BBLL", _RELEASE_RQ, 0, 4, 0)])
            while self._connection.receive()[0] not in (_RELEASE_RP, _ABORT):
                continue
        except (OSError, PeerUnreachableError):
            pass
        finally:
            self._connection.close()

    def abort(self) -> None:
        """End the association at once (A-ABORT, PS3.8 7.3)."""
        try:
            self._connection.send([struct.pack(">BBLBBBB", _ABORT, 0, 4, 0, 0, 0, 0)])
        except (OSError, PeerUnreachableError):
            pass
        finally:
            self._connection.close()

    def interrupt(self) -> None:
        """End it under the hands of the thread that waits for an answer."""
        self._connection.interrupt()

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
        self._connection.send(self._message(context_id, request, data_set))
        response = self._response()
        if response.message_id != self._message_id:
            self._connection.lost(
                f"it answers message {response.message_id} instead of {self._message_id}", Fault.NOT_DICOM
            )
        return response

    def _message(
        self, context_id: int, request: bytes, data_set: bytes | memoryview | None
    ) -> Iterator[Part]:
        """Yield a message's PDUs in their parts; the command goes out with the first of the data set."""
        parts = pdata.fragments(context_id, request, self._maximum, command=True)
        if data_set is not None:
            parts = chain(parts, pdata.fragments(context_id, data_set, self._maximum, command=False))
        return chain.from_iterable(parts)

    def _response(self) -> Response:
        collected = b""
        while True:
            kind, body = self._connection.receive()
            if kind != pdata.P_DATA_TF:
                self._connection.lost(*_ended(kind, body))
            try:
                for _, is_command, last, part in pdata.values(body):
                    collected += part if is_command else b""
                    if is_command and last:
                        return command.decode_response(collected)
            except ValueError as error:
                self._connection.lost(f"its answer can't be read ({error})", Fault.NOT_DICOM)


def _ended(kind: int, body: bytes) -> tuple[str, Fault]:
    """Return what a PDU that is no data says, and what fault that is."""
    if kind == _ABORT:
        return _aborted(body)
    if kind == _RELEASE_RQ:
        return "it ended the association before it answered", Fault.ENDED
    return f"it ended the association with a PDU of type {kind:02X}H", Fault.NOT_DICOM


def _aborted(body: bytes) -> tuple[str, Fault]:
    source, reason = (body[2], body[3]) if len(body) >= 4 else (0, 0)
    if source == _SERVICE_PROVIDER:
        why = _ABORT_REASONS.get(reason, "no reason given")
        return f"its protocol machine aborted the association (A-P-ABORT): {why}", Fault.PROVIDER_ABORTED
    return "it aborted the association (A-ABORT)", Fault.ABORTED
