"""Receive as hospitals send: an association for each object, and DCMTK's storescu as it is shipped."""

import os
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from orthanc_al.dicom import Peer
from orthanc_al.dicom.command import c_echo_rq
from tests.bench.sending import CALLING_AE, Payload, megabytes
from tests.bench.series import Series, Step, rotated
from tests.bench.watching import quiesce
from tests.support.plain_orthanc import PlainOrthanc
from tests.support.raw_peer import VERIFICATION, RawPeer, associate_rq, p_data, pdv, store
from tests.support.site import Site, StoreSCP, peer
from tests.support.synthetic import ct_study
from tests.support.wire import CT, IMPLICIT

OURS = "orthanc_al, durable"
_SMALL = 4096
_VISITS = 20  # a round
_FILES = 40
_TUNED, _AS_SHIPPED = "storescp +B", "storescp +B as shipped"
RELEASE_RQ = b"\x05\0\0\0\0\x04\0\0\0\0"


def measure(folder: Path, rounds: int, step: Step) -> list[Series]:
    """Visit each receiver with one small object, and send by storescu to two of them."""
    rng = np.random.default_rng(1)
    visits = Series(
        f"associate, C-ECHO, C-STORE of {_SMALL // 1024} KB, release", "ms", higher_is_better=False
    )
    shipped = Series("storescu as shipped sends CT 0.5 MB, receiver as shipped", "MB/s")
    with _receivers(folder) as receivers:
        for number in range(rounds):
            payloads = [Payload.of(image) for image in ct_study(rng, _FILES)]
            files = [payload.save(folder / f"files-{number}") for payload in payloads]
            for who, receiver in rotated(receivers, number):
                quiesce()
                if who != _AS_SHIPPED:
                    visits.add(who, _visit(receiver, rng) * 1e3)
                if who in (OURS, _AS_SHIPPED):
                    quiesce()
                    shipped.add(who, megabytes(payloads) / _storescu(receiver, files))
            step()
    return [visits.led_by(OURS), shipped.led_by(OURS)]


def _visit(receiver: Peer, rng: np.random.Generator) -> float:
    """Return the seconds that one visit takes, a round's mean."""
    began = time.perf_counter()
    for _ in range(_VISITS):
        uid = f"2.25.{rng.integers(1 << 62)}"
        with RawPeer(receiver.port) as us:
            us.say(associate_rq([(CT, IMPLICIT), VERIFICATION], CALLING_AE, receiver.ae_title))
            us.hear()
            us.say(p_data(pdv(3, c_echo_rq(1), is_command=True, last=True)))
            _check(us.status(), receiver)
            us.say(store(uid, _small(uid), sop_class=CT, number=2))
            _check(us.status(), receiver)
            us.say(RELEASE_RQ)
            us.hear()
    return (time.perf_counter() - began) / _VISITS


def _small(uid: str) -> bytes:
    """A data set of 4 KB: identifiers, and a comment of that length."""
    head = element(0x0008, 0x0016, CT) + element(0x0008, 0x0018, uid) + element(0x0010, 0x0020, uid[-12:])
    head += element(0x0020, 0x000D, uid + ".1") + element(0x0020, 0x000E, uid + ".2")
    return head + element(0x0020, 0x4000, "x" * (_SMALL - len(head) - 8))


def element(group: int, number: int, value: str) -> bytes:
    """An element in Implicit VR Little Endian."""
    padded = value.encode() + (b"\0" if number != 0x4000 else b" ") * (len(value) % 2)
    return struct.pack("<HHL", group, number, len(padded)) + padded


def _check(status: int, receiver: Peer) -> None:
    if status != 0:
        raise RuntimeError(f"{receiver.name} answers 0x{status:04X}")


def _storescu(receiver: Peer, files: Sequence[Path]) -> float:
    """Return the seconds that DCMTK's sender takes with its own settings of TCP."""
    untuned = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    titles = ["-aet", CALLING_AE, "-aec", receiver.ae_title]
    began = time.perf_counter()
    subprocess.run(
        ["storescu", "-xe", *titles, receiver.host, str(receiver.port), *map(str, files)],
        check=True,
        env=untuned,
        capture_output=True,
    )
    return time.perf_counter() - began


@contextmanager
def _receivers(folder: Path) -> Iterator[dict[str, Peer]]:
    with ExitStack() as stack:
        site = Site(folder / "visited", [peer("bench", CALLING_AE, 1, "source")], {"models": []})
        site.start()
        stack.callback(site.stop)
        places = {}
        for who, tuned in ((_TUNED, True), (_AS_SHIPPED, False)):
            pacs = StoreSCP(folder / f"storescp-{tuned}", tuned=tuned)
            pacs.start()
            stack.callback(pacs.stop)
            places[who] = Peer("storescp", pacs.ae_title, "127.0.0.1", pacs.port)
        orthanc = stack.enter_context(PlainOrthanc(folder / "orthanc-visited"))
        yield {
            OURS: Peer("us", "ORTHANC_AL", "127.0.0.1", site.port),
            **places,
            "Orthanc": Peer("orthanc", orthanc.ae_title, "127.0.0.1", orthanc.dicom_port),
        }
