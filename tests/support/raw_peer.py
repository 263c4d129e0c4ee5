"""A requestor that says exactly what it is told to, byte by byte: for what no well-behaved library sends."""

import socket
import struct
from collections.abc import Sequence
from typing import Self

from orthanc_al.dicom import command
from orthanc_al.dicom.pdata import fragments, values

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = (command.VERIFICATION_SOP_CLASS_UID, "1.2.840.10008.1.2")


def item(kind: int, value: bytes) -> bytes:
    """An item of an A-ASSOCIATE PDU (PS3.8 9.3.2)."""
    return struct.pack(">BBH", kind, 0, len(value)) + value


def associate_rq(contexts: Sequence[tuple[str, str]], calling: str = "CT", called: str = "US") -> bytes:
    """An A-ASSOCIATE-RQ with the contexts 1, 3, 5, ...: abstract and transfer syntax each."""
    body = struct.pack(">HH", 1, 0) + called.encode().ljust(16) + calling.encode().ljust(16) + bytes(32)
    body += item(0x10, _APPLICATION_CONTEXT.encode())
    for number, (abstract, transfer) in enumerate(contexts):
        syntaxes = item(0x30, abstract.encode()) + item(0x40, transfer.encode())
        body += item(0x20, struct.pack(">BBBB", 2 * number + 1, 0, 0, 0) + syntaxes)
    body += item(0x50, item(0x51, struct.pack(">L", 1 << 14)) + item(0x52, b"1.2.3.4"))
    return struct.pack(">BBL", 0x01, 0, len(body)) + body


def pdv(context_id: int, value: bytes, *, is_command: bool, last: bool) -> bytes:
    """A presentation data value (PS3.8 9.3.5.1)."""
    return struct.pack(">LBB", len(value) + 2, context_id, is_command | last << 1) + value


def p_data(*pdvs: bytes) -> bytes:
    """A P-DATA-TF PDU."""
    body = b"".join(pdvs)
    return struct.pack(">BBL", 0x04, 0, len(body)) + body


def store(
    uid: str, body: bytes, context_id: int = 1, *, pdu: int = 1 << 14, sop_class: str, number: int = 1
) -> bytes:
    """A whole C-STORE request."""
    request = command.c_store_rq(number, sop_class, uid)
    pieces = [
        *fragments(context_id, request, 0, command=True),
        *fragments(context_id, body, pdu, command=False),
    ]
    return b"".join(header + part for header, part in pieces)


class RawPeer:
    """A connection to an acceptor; as a context manager it is closed without a word."""

    def __init__(self, port: int, timeout: float = 10.0) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def associated(cls, port: int, contexts: Sequence[tuple[str, str]]) -> Self:
        """Connect and associate."""
        peer = cls(port)
        peer.say(associate_rq(contexts))
        assert peer.hear()[0] == 0x02
        return peer

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self.connection.sendall(data)

    def hear(self) -> tuple[int, bytes]:
        """Return the type and the body of the next PDU; (0, b"") where the connection was closed."""
        try:
            header = self._exactly(6)
            if len(header) < 6:
                return 0, b""
            kind, length = struct.unpack(">BxL", header)
            return kind, self._exactly(length)
        except ConnectionError:
            return 0, b""

    def status(self) -> int:
        """Return the status of the next response."""
        return self.response().status

    def response(self) -> command.Response:
        """Return the next response."""
        kind, body = self.hear()
        assert kind == 0x04, kind
        return command.decode_response(b"".join(bytes(value[3]) for value in values(body)))

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count and (more := self.connection.recv(count - len(found))):
            found += more
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
