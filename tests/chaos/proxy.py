"""A way to a peer that can be cut, silenced or slowed down while it is used."""

import contextlib
import socket
import threading
import time
from enum import Enum, auto
from typing import Final

_CHUNK: Final = 1 << 16
_SLOW_BYTES_PER_SECOND: Final = 1024
_DIES_AFTER: Final = 6_000  # bytes to the peer: in the middle of a film


class Way(Enum):
    """What the proxy does with a connection."""

    OPEN = auto()
    DOWN = auto()  # nobody listens
    HALF_OPEN = auto()  # takes connections and bytes, and says nothing
    SLOW = auto()  # 1 KB/s towards the peer
    DYING = auto()  # closes in the middle of the first object, each time


class Proxy:
    """Listens at a port of its own and passes bytes on to ``target``, a port of the loopback."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._way = Way.OPEN
        self._server = self._listen(0)
        self.port: int = self._server.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._stopped = False
        threading.Thread(target=self._serve, daemon=True).start()

    def set(self, way: Way) -> None:
        """Change what it does; connections that are open are cut."""
        before, self._way = self._way, way
        if way is Way.DOWN and before is not Way.DOWN:
            self._server.close()
        elif before is Way.DOWN and way is not Way.DOWN:
            self._server = self._listen(self.port)
        self._cut_all()

    def stop(self) -> None:
        """End it."""
        self._stopped = True
        self._server.close()
        self._cut_all()

    @staticmethod
    def _listen(port: int) -> socket.socket:
        server = socket.create_server(("127.0.0.1", port), backlog=32)
        # Small buffers: what is slow must be felt by who sends.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.settimeout(0.2)
        return server

    def _cut_all(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._open.clear()

    def _serve(self) -> None:
        while not self._stopped:
            try:
                connection = self._server.accept()[0]
            except OSError:  # nobody came, or it is closed for a while
                time.sleep(0.02)
                continue
            if self._way is Way.DOWN:
                connection.close()
                continue
            self._open.add(connection)
            threading.Thread(target=self._attend, args=(connection, self._way), daemon=True).start()

    def _attend(self, connection: socket.socket, way: Way) -> None:
        connection.settimeout(None)
        with contextlib.suppress(OSError):
            if way is Way.HALF_OPEN:
                while connection.recv(_CHUNK):
                    continue
                return
            there = socket.create_connection(("127.0.0.1", self._target), 10)
            there.settimeout(None)
            self._open.add(there)
            threading.Thread(target=_pump, args=(there, connection, Way.OPEN), daemon=True).start()
            _pump(connection, there, way)


def _pump(source: socket.socket, sink: socket.socket, way: Way) -> None:
    """Pass bytes on until either side ends, in the way that is asked for."""
    passed = 0
    size = _SLOW_BYTES_PER_SECOND // 8 if way is Way.SLOW else _CHUNK
    try:
        while chunk := source.recv(size):
            sink.sendall(chunk)
            passed += len(chunk)
            if way is Way.SLOW:
                time.sleep(len(chunk) / _SLOW_BYTES_PER_SECOND)
            if way is Way.DYING and passed > _DIES_AFTER:
                return
    except OSError:
        return
    finally:
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
