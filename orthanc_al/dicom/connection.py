"""A connection that PDUs go over: TCP, or TLS on it; every fault on it is told as what it is."""

import fcntl
import socket
import ssl
import struct
import termios
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NoReturn

from orthanc_al.dicom.faults import Fault
from orthanc_al.errors import PeerUnreachableError

_LONGEST_PDU: Final = 1 << 20  # a requestor gets short answers: more than this is no DICOM
_READ: Final = 16384
_AT_ONCE: Final = 512  # buffers that one system call takes; Linux's limit is 1024
_TLS_AT_ONCE: Final = 32  # they are joined: some bytes of memory for each

Part = bytes | memoryview


class Connection:
    """A connection to one peer, made by `open`. Not to be shared between threads, but for `interrupt`.

    Parameters
    ----------
    connected
        The socket, with its timeout set.
    peer
        What the peer is called in errors.
    """

    def __init__(self, connected: socket.socket, peer: str) -> None:
        self._socket = connected
        self._peer = peer
        self._buffer = bytearray()

    @classmethod
    def open(
        cls,
        host: str,
        port: int,
        peer: str,
        connect_timeout: float,
        answer_timeout: float,
        tls: ssl.SSLContext | None = None,
    ) -> "Connection":
        """Connect.

        Parameters
        ----------
        connect_timeout, answer_timeout
            Seconds to connect (with TLS: and again to agree on it), and for each step after that.
        tls
            Speak TLS as this says (`orthanc_al.dicom.tls`).

        Raises
        ------
        PeerUnreachableError
            Nobody there, or no TLS with it.
        """
        try:
            connected = socket.create_connection((host, port), connect_timeout)
        except OSError as error:
            raise PeerUnreachableError(f"{peer} can't be reached: {error}", Fault.NO_CONNECTION) from error
        # Two small writes in a row would wait for the peer's delayed acknowledgement, 40 ms each time.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            try:
                connected = tls.wrap_socket(connected, server_hostname=host)
            except OSError as error:  # ssl.SSLError is one
                connected.close()
                raise PeerUnreachableError(f"{peer}: no TLS with it ({error})", Fault.TLS) from error
        connected.settimeout(answer_timeout)
        return cls(connected, peer)

    def send(self, parts: Iterable[Part]) -> None:
        """Send buffers one after the other, without joining them where the system can take many at once.

        Raises
        ------
        PeerUnreachableError
            The connection broke, or took nothing for the answer's timeout.
        """
        try:
            if isinstance(self._socket, ssl.SSLSocket):
                for some in _batched(parts, _TLS_AT_ONCE):
                    self._socket.sendall(b"".join(some))
            else:
                for some in _batched(parts, _AT_ONCE):
                    self._send_all(some)
        except OSError as error:
            raise PeerUnreachableError(
                f"{self._peer}: the connection broke ({error})", Fault.BROKEN
            ) from error

    def receive(self) -> tuple[int, bytes]:
        """Return the next PDU: its type, and its body behind the header of 6 bytes.

        Raises
        ------
        PeerUnreachableError
            None came in time, the connection was closed, or it is none.
        """
        kind, _, length = struct.unpack(">BBL", self._read(6))
        if length > _LONGEST_PDU:
            self.lost(f"it announces a PDU of {length} bytes", Fault.NOT_DICOM)
        return kind, self._read(length)

    def lost(self, why: str, fault: Fault) -> NoReturn:
        """Tell that the peer is lost."""
        raise PeerUnreachableError(f"{self._peer}: {why}", fault)

    def wait_at_most(self, seconds: float) -> None:
        """Set how long each step may take from now on."""
        self._socket.settimeout(seconds)

    def interrupt(self) -> None:
        """End it under the hands of the thread that waits on it; that thread is told that it broke."""
        try:
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            return

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _send_all(self, views: list[memoryview]) -> None:
        first = 0
        while first < len(views):
            sent = self._socket.sendmsg(views[first:])
            while first < len(views) and sent >= views[first].nbytes:
                sent -= views[first].nbytes
                first += 1
            if sent:
                views[first] = views[first][sent:]

    def _read(self, count: int) -> bytes:
        try:
            while len(self._buffer) < count:
                part = self._next_bytes()
                if not part:
                    self.lost("it closed the connection", Fault.CLOSED)
                self._buffer += part
                # Linux turns quick acknowledgement off by itself; a peer with Nagle's algorithm on
                # would wait 40 ms for ours in each answer.
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except OSError as error:
            fault = Fault.NO_ANSWER if isinstance(error, TimeoutError) else Fault.BROKEN
            raise PeerUnreachableError(f"{self._peer}: no answer ({error})", fault) from error
        read = bytes(self._buffer[:count])
        del self._buffer[:count]
        return read

    def _next_bytes(self) -> bytes:
        """Return what comes next; a time-out counts only where what we sent is not on its way any more.

        Over a slow line the system still holds megabytes of an object when we have sent all of it: a peer
        that is given up meanwhile would never get an object that takes longer than the time-out.
        """
        unsent = self._unsent()
        while True:
            try:
                return self._socket.recv(_READ)
            except TimeoutError:
                before, unsent = unsent, self._unsent()
                if unsent >= before:
                    raise

    def _unsent(self) -> int:
        """Return the bytes that the peer's system has not acknowledged (SIOCOUTQ, tcp(7)), 0 if unknown."""
        try:
            return int(struct.unpack("i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)))[0])
        except OSError:
            return 0


def _batched(parts: Iterable[Part], size: int) -> Iterator[list[memoryview]]:
    views = (memoryview(part) for part in parts if len(part))
    while some := list(islice(views, size)):
        yield some
