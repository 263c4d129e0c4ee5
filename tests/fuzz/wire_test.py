"""Whatever is sent to the port, the listener goes on answering, and keeps nothing that is not whole."""

import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from orthanc_al.dicom import Peer, echo
from orthanc_al.ledger import Ledger
from orthanc_al.receive import Listener
from orthanc_al.spool import Spool

CASES = 60
PDU_TYPES = (0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x00, 0xFF)


@pytest.fixture
def listener(ledger: Ledger, tmp_path: Path) -> Iterator[Listener]:
    made = Listener(
        ae_title="US",
        host="127.0.0.1",
        port=0,
        peers=[],
        accept="any",
        spool=Spool(tmp_path / "spool", 0),
        ledger=ledger,
        destinations=[],
    )
    made.start()
    yield made
    made.stop()


def _garbage(rng: random.Random) -> bytes:
    """A few PDUs (PS3.8 9.3) whose types, lengths and contents need not fit together."""
    parts = []
    for _ in range(rng.randrange(1, 4)):
        body = rng.randbytes(rng.randrange(0, 400))
        length = rng.choice((len(body), len(body) + 7, 0, 0x7FFFFFFF, 0xFFFFFFFF))
        parts.append(struct.pack(">BBI", rng.choice(PDU_TYPES), 0, length) + body)
    return b"".join(parts)


def test_garbage_on_the_port_neither_stops_the_listener_nor_enters_the_spool(
    listener: Listener, tmp_path: Path
) -> None:
    rng = random.Random(3)
    for _ in range(CASES):
        with socket.create_connection(("127.0.0.1", listener.port), timeout=5) as peer:
            try:
                peer.sendall(_garbage(rng))
            except ConnectionError:
                continue  # it hung up on us, which is its right
    echo(Peer("us", "US", "127.0.0.1", listener.port), "TEST", timeout=20)
    assert not list((tmp_path / "spool").rglob("*.dcm"))
