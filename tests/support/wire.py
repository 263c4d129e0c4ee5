"""DICOM peers for tests: small data sets, an SCP that answers as told, DCMTK's programs."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pynetdicom import AE, evt

from orthanc_al.dicom import Peer
from orthanc_al.domain import Instance, Origin, OriginKind
from orthanc_al.ledger import Ledger, deliveries, instances
from orthanc_al.ledger.deliveries import DeliveryState
from orthanc_al.spool import Spool

CT = "1.2.840.10008.5.1.4.1.1.2"
CR = "1.2.840.10008.5.1.4.1.1.1"
IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"


def data_set(uid: str, sop_class: str = CT, study: str = "1.2.9") -> bytes:
    """A valid data set in Explicit VR Little Endian."""
    values = ((0x0008, 0x0016, sop_class), (0x0008, 0x0018, uid), (0x0020, 0x000D, study))
    encoded = b""
    for group, element, value in values:
        padded = value.encode() + b"\0" * (len(value) % 2)
        encoded += group.to_bytes(2, "little") + element.to_bytes(2, "little") + b"UI"
        encoded += len(padded).to_bytes(2, "little") + padded
    return encoded


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until ``what`` is true, and return it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.02)
    return found


@dataclass
class Scp:
    """An SCP on pynetdicom that keeps what it gets and answers what it is told to."""

    contexts: Sequence[tuple[str, Sequence[str]]]
    answer: Callable[[Any], int] = lambda _: 0x0000
    got: list[tuple[str, str, bytes]] = field(default_factory=list)  # UID, transfer syntax, data set
    callers: list[str] = field(default_factory=list)
    port: int = 0
    associations: int = 10
    handlers: list[tuple[Any, Callable[[Any], Any]]] = field(default_factory=list)  # beside C-STORE

    @contextlib.contextmanager
    def running(self) -> Iterator["Scp"]:
        ae = AE("PACS")
        ae.maximum_associations = self.associations
        for sop_class, syntaxes in self.contexts:
            ae.add_supported_context(sop_class, list(syntaxes))
        ae.add_supported_context("1.2.840.10008.1.1")
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_ACCEPTED, self._accepted), *self.handlers]
        server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        self.port = server.server_address[1]
        try:
            yield self
        finally:
            server.shutdown()
            for association in ae.active_associations:
                association.abort()

    def peer(self, name: str = "pacs", roles: Sequence[str] = ("destination",)) -> Peer:
        return Peer(name, "PACS", "127.0.0.1", self.port, tuple(roles))

    def _accepted(self, event: Any) -> None:
        self.callers.append(event.assoc.requestor.ae_title)

    def _store(self, event: Any) -> int:
        status = self.answer(event)
        if status == 0 or status >> 12 == 0xB:
            request = event.request
            self.got.append(
                (
                    str(request.AffectedSOPInstanceUID),
                    str(event.context.transfer_syntax),
                    request.DataSet.getvalue(),
                )
            )
        return status


@contextlib.contextmanager
def dcmtk(*command: str, port: int | None = None, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A DCMTK program in the background, without Nagle's algorithm; waits until its port is open."""
    process = subprocess.Popen(
        command, env={**os.environ, "TCP_NODELAY": "1"}, stdout=subprocess.DEVNULL, **options
    )
    try:
        if port is not None:
            until(lambda: _listens(port))
        yield process
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False


def part10_body(path: Path) -> bytes:
    """The data set's bytes of a Part 10 file, by its group length (PS3.10 7.1)."""
    content = path.read_bytes()
    assert content[128:132] == b"DICM"
    assert content[132:136] == b"\x02\0\0\0"
    return content[144 + int.from_bytes(content[140:144], "little") :]


def put_instance(
    ledger: Ledger,
    spool: Spool,
    uid: str,
    *,
    data: bytes | None = None,
    sop_class: str = CT,
    syntax: str = EXPLICIT,
    source: str = "ct",
    to: Sequence[str] = ("pacs",),
    origin: OriginKind = "dicom",
) -> Instance:
    """An instance as the listener leaves it: in spool and ledger, waiting for its deliveries."""
    how = Origin("CT", "ORTHANC_AL", "ORTHANC_AL", source, "a" * 32, origin)
    with spool.open_writer(sop_class, uid, syntax, how) as writer:
        writer.write(data_set(uid, sop_class) if data is None else data)
        instance = writer.commit()
    with ledger.write() as connection:
        instances.add(connection, instance, how, to)
    return instance


def states(ledger: Ledger) -> dict[tuple[str, DeliveryState], int]:
    """Deliveries by destination and state."""
    with ledger.read() as connection:
        return deliveries.counts(connection)


def nothing_waits(ledger: Ledger) -> bool:
    """Whether every delivery has come to an end."""
    return all(state is not DeliveryState.WAITING for _, state in states(ledger))
