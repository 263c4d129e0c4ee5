"""The fast data path: C-STORE requests off a connection without a copy (PS3.8 9.3.5, PS3.7 9.3.1).

It reads what the socket holds into one buffer, finds the fragments of a data set in it by their PDU and PDV
headers, and hands views of them on. All that is not a C-STORE request is left for pynetdicom, which
reads it by `Stream.recv`. It knows sockets and bytes, and nothing of pynetdicom.
"""

import select
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Final

from orthanc_al.dicom.command import StoreRequest, c_store_rsp, decode_request
from orthanc_al.dicom.inbox import Incoming
from orthanc_al.dicom.pdata import P_DATA_TF, fragments

BUFFER_BYTES: Final = 1 << 18
LONGEST_PDU: Final = 1 << 24  # far above what we ask for: whoever announces more is no DICOM peer
_PDU_HEADER: Final = struct.Struct(">BxL")
_PDV_HEADER: Final = struct.Struct(">LBB")
_COMMAND: Final = 0x01
_LAST: Final = 0x02
_LONGEST_COMMAND: Final = 1 << 16  # PS3.7's requests stay below 1 KB
_LONGEST_OTHER: Final = 1 << 24  # data set of a request that pynetdicom keeps in memory as a whole
_MOST_PARTS: Final = 512

Begin = Callable[[StoreRequest], Incoming]


class Stream:
    """What comes by one connection.

    Parameters
    ----------
    connection
        A connected socket, also a TLS one.
    begin
        Takes a C-STORE request and returns what takes its data set.
    """

    def __init__(self, connection: socket.socket, begin: Begin) -> None:
        self._connection = connection
        self._begin = begin
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._start = self._end = 0  # what of the buffer was read and is still to be looked at
        self._contexts: Mapping[int, str] = {}
        self._pdu_left = 0  # bytes of the P-DATA-TF PDU that are still to be looked at
        self._pdv_left = 0  # and of the fragment in it
        self._in_pdv = False
        self._context_id = self._control = self._message_context = 0
        self._command = bytearray()
        self._request: StoreRequest | None = None
        self._incoming: Incoming | None = None  # of the request
        self._parts: list[memoryview] = []
        self._others_data_set = -1  # bytes so far of a data set that is pynetdicom's; -1: there is none
        self._for_pynetdicom = bytearray()

    def accept(self, contexts: Mapping[int, str]) -> None:
        """Say which presentation contexts were accepted: the transfer syntax by context id."""
        self._contexts = contexts

    @property
    def is_between_messages(self) -> bool:
        """Whether nothing is under way."""
        return not (self._pdu_left or self._command or self._incoming or self._others_data_set >= 0)

    def has_more(self) -> bool:
        """Whether bytes are here that no look at the socket would tell of."""
        pending = getattr(self._connection, "pending", None)  # of a TLS socket
        return bool(self._end > self._start or self._for_pynetdicom or (pending and pending()))

    def fill(self) -> bool:
        """Read once what there is, waiting for it; return False where the peer has closed the connection.

        Raises
        ------
        OSError
            The connection is broken, or the peer was silent for the socket's time-out.
        """
        left = self._end - self._start  # no more than a part of a header
        self._buffer[:left] = self._buffer[self._start : self._end]
        self._start, self._end = 0, left
        got = self._connection.recv_into(self._buffer[left:])
        _acknowledge_at_once(self._connection)
        self._end += got
        return got > 0

    def advance(self) -> bool:
        """Do what can be done with what was read.

        Returns
        -------
        bool
            Whether there is a PDU for pynetdicom, which is to read it by `recv`; all that came before it
            is done.

        Raises
        ------
        ValueError
            The peer speaks no DICOM: the association is to be aborted.
        OSError
            A response can't be sent.
        """
        try:
            return self._advance()
        finally:
            self._flush()

    def recv(self, count: int) -> bytearray:
        """Return ``count`` bytes for pynetdicom, fewer where the connection ends before.

        Raises
        ------
        OSError
            As `fill`; or somebody announced a PDU of a size that no peer has.
        """
        if count > LONGEST_PDU:
            raise OSError(f"a PDU of {count} bytes was announced")
        found = self._for_pynetdicom[:count]
        del self._for_pynetdicom[:count]
        if not found:
            here = min(count, self._end - self._start)
            found += self._buffer[self._start : self._start + here]
            self._start += here
        if len(found) < count:
            found += receive(self._connection, count - len(found))
        return found

    def close(self) -> None:
        """Drop what is not whole, and let the buffer go: dead associations stay in memory for a while."""
        if self._incoming is not None:
            self._incoming.drop()
            self._incoming = None
        self._parts.clear()
        self._start = self._end = 0
        self._buffer = memoryview(b"")

    def _advance(self) -> bool:
        while not self._for_pynetdicom:
            if self._in_pdv:
                if not self._fragment():
                    return False
            elif self._pdu_left:
                if not self._pdv_header():
                    return False
            elif self._end - self._start < _PDU_HEADER.size:
                return False
            else:
                kind, length = _PDU_HEADER.unpack_from(self._buffer, self._start)
                if kind != P_DATA_TF:
                    return True
                self._start += _PDU_HEADER.size
                self._pdu_left = length
        return True

    def _pdv_header(self) -> bool:
        """Read a fragment's header; return False where it is not all there."""
        if self._pdu_left < _PDV_HEADER.size:
            raise ValueError("a PDU ends within the header of a presentation data value")
        if self._end - self._start < _PDV_HEADER.size:
            return False
        length, self._context_id, self._control = _PDV_HEADER.unpack_from(self._buffer, self._start)
        if length < 2 or length + 4 > self._pdu_left:
            raise ValueError("a presentation data value is longer than its PDU")
        self._start += _PDV_HEADER.size
        self._pdu_left -= length + 4
        self._pdv_left = length - 2
        self._check_its_place()
        self._in_pdv = True
        return True

    def _check_its_place(self) -> None:
        """Refuse fragments out of order: those of one message follow each other (PS3.8 annex E)."""
        if self._context_id not in self._contexts:
            raise ValueError("a presentation data value by a context that was not accepted")
        wants_data_set = self._incoming is not None or self._others_data_set >= 0
        if bool(self._control & _COMMAND) == wants_data_set:
            raise ValueError("a fragment of a data set without its command, or of a command within another")
        if self._command or wants_data_set:
            if self._context_id != self._message_context:
                raise ValueError("fragments of two messages are mixed")
        else:
            self._message_context = self._context_id

    def _fragment(self) -> bool:
        """Take what is here of a fragment; return False where more of it is to come."""
        here = min(self._pdv_left, self._end - self._start)
        part = self._buffer[self._start : self._start + here]
        self._start += here
        self._pdv_left -= here
        if self._incoming is not None:
            self._parts.append(part)
            if len(self._parts) >= _MOST_PARTS:
                self._flush()
        elif self._others_data_set >= 0:
            self._pass_on(part)
        else:
            self._command += part
            if len(self._command) > _LONGEST_COMMAND:
                raise ValueError("a command set that does not end")
        if self._pdv_left:
            return False
        self._in_pdv = False
        if self._control & _LAST:
            self._message_part_ended()
        return True

    def _message_part_ended(self) -> None:
        if self._incoming is not None:
            self._flush()
            incoming, self._incoming = self._incoming, None
            self._answer(incoming.finish())
        elif self._others_data_set >= 0:
            self._others_data_set = -1
        else:
            self._command_ended()

    def _command_ended(self) -> None:
        """Begin a C-STORE, or hand another request to pynetdicom."""
        command = bytes(self._command)
        self._command.clear()
        request, has_data_set = decode_request(command, self._contexts[self._context_id])
        if request is None:
            for header, part in fragments(self._context_id, command, 0, command=True):
                self._for_pynetdicom += header + part
            self._others_data_set = 0 if has_data_set else -1
            return
        self._request = request
        self._incoming = self._begin(request)

    def _pass_on(self, part: memoryview) -> None:
        """Hand a piece of another request's data set to pynetdicom, as a PDU of its own."""
        self._others_data_set += part.nbytes
        if self._others_data_set > _LONGEST_OTHER:
            raise ValueError("a request other than C-STORE with a data set that does not end")
        is_last = not self._pdv_left and self._control & _LAST
        header = struct.pack(
            ">BBLLBB", P_DATA_TF, 0, part.nbytes + 6, part.nbytes + 2, self._context_id, _LAST * bool(is_last)
        )
        self._for_pynetdicom += header + part

    def _flush(self) -> None:
        """Hand on what was found, before the buffer is used again."""
        if self._parts and self._incoming is not None:
            self._incoming.write(self._parts)
        self._parts.clear()

    def _answer(self, status: int) -> None:
        assert self._request is not None
        message = c_store_rsp(self._request, status)
        pdus = fragments(self._context_id, message, 0, command=True)
        self._connection.sendall(b"".join(piece for pdu in pdus for piece in pdu))


def receive(connection: socket.socket, count: int) -> bytearray:
    """Read ``count`` bytes, fewer where the peer closes the connection before."""
    if count > LONGEST_PDU:
        raise OSError(f"a PDU of {count} bytes was announced")
    buffer = bytearray(count)
    view = memoryview(buffer)
    read = 0
    while read < count:
        got = connection.recv_into(view[read:])
        if not got:
            break
        read += got
        _acknowledge_at_once(connection)
    view.release()
    del buffer[read:]
    return buffer


def wait(connection: socket.socket, bell: int, seconds: float) -> bool:
    """Wait until there is something to read, or the bell is rung; return False where neither came."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    poll.register(bell, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


def _acknowledge_at_once(connection: socket.socket) -> None:
    # Off again by itself after a while; without it a peer with Nagle's algorithm waits 40 ms for us.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
