"""Send: the forwarder against DCMTK's storescu, the same files to the same storescp.

Ours is measured from the start of a forwarder, with everything waiting in ledger and spool, until all of
it is answered; storescu from the start of its process until its end. "As shipped" is without TCP_NODELAY
in anybody's environment. The far side writes into memory (/dev/shm), so that senders are measured and not its
disk; the files that are sent lie on the disk that `--folder` names.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import func, select

from orthanc_al.dicom import Peer
from orthanc_al.forward import Forwarder
from orthanc_al.ledger import Ledger
from orthanc_al.ledger.schema import deliveries
from orthanc_al.spool import Spool
from tests.bench.sending import CALLING_AE, Payload, megabytes
from tests.bench.series import Series, Step, rotated
from tests.support.site import free_port, listens, wait_until
from tests.support.synthetic import ct_study, film
from tests.support.wire import nothing_waits, put_instance

OURS = "orthanc_al, forwarder"
STORESCU = "storescu"
_SHIPPED = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
_TUNED = {**_SHIPPED, "TCP_NODELAY": "1"}


@dataclass(frozen=True)
class _Case:
    name: str
    instances: int
    tuned: bool = True
    is_film: bool = False
    associations: int = 1

    def make(self, rng: np.random.Generator) -> list[Payload]:
        images = [film(rng) for _ in range(self.instances)] if self.is_film else ct_study(rng, self.instances)
        return [Payload.of(image) for image in images]


_CASES = (
    _Case("send CT 0.5 MB, tuned storescp", 200),
    _Case("send CT 0.5 MB, tuned storescp, we over 2 associations", 200, associations=2),
    _Case("send film 15 MB, tuned storescp", 8, is_film=True),
    _Case("send CT 0.5 MB, storescp and storescu as shipped", 100, tuned=False),
)


def measure(folder: Path, rounds: int, step: Step) -> list[Series]:
    """Send the same images by both, in turn."""
    rng = np.random.default_rng(2)
    series = {case: Series(case.name, "MB/s") for case in _CASES}
    for number in range(rounds):
        for case in _CASES:
            payloads = case.make(rng)
            place = folder / f"send-{number}-{_CASES.index(case)}"
            for who, send in rotated({OURS: _ours, STORESCU: _storescu}, number):
                with _storescp(case.tuned) as port:
                    os.sync()
                    seconds = send(place / who, payloads, port, case)
                series[case].add(who, megabytes(payloads) / seconds)
        step()
    return [one.led_by(OURS) for one in series.values()]


@contextmanager
def _storescp(tuned: bool) -> Iterator[int]:
    with tempfile.TemporaryDirectory(prefix="orthanc-al-bench-", dir="/dev/shm") as folder:
        yield from _listening(folder, tuned)


def _listening(folder: str, tuned: bool) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen(
        ["storescp", "+B", "--fork", "-aet", "FAR", "-od", folder, str(port)],
        env=_TUNED if tuned else _SHIPPED,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: listens(port), 20)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _ours(folder: Path, payloads: list[Payload], port: int, case: _Case) -> float:
    ledger = Ledger.create(f"sqlite:///{folder}/ledger.sqlite")
    spool = Spool(folder / "spool", 0)
    for one in payloads:
        put_instance(
            ledger,
            spool,
            one.sop_instance_uid,
            data=one.data_set,
            sop_class=one.sop_class_uid,
            to=("far",),
        )
    far = Peer("far", "FAR", "127.0.0.1", port, ("destination",), case.associations)
    forwarder = Forwarder(ledger=ledger, spool=spool, peers=[far], calling_ae=CALLING_AE)
    began = time.time()
    forwarder.start()
    while not nothing_waits(ledger):
        time.sleep(0.05)
    forwarder.stop()
    with ledger.read() as connection:
        answered_at = connection.execute(select(func.max(deliveries.c.done_at))).scalar_one()
    ledger.close()
    return float(answered_at) - began


def _storescu(folder: Path, payloads: list[Payload], port: int, case: _Case) -> float:
    paths = [one.save(folder) for one in payloads]
    command = ["storescu", "-xe", "-aet", CALLING_AE, "-aec", "FAR", "127.0.0.1", str(port), *map(str, paths)]
    began = time.perf_counter()
    subprocess.run(command, env=_TUNED if case.tuned else _SHIPPED, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
