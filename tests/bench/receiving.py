"""Receive: MB/s and instances/s of our durable listener, of storescp and of Orthanc, by the same sender.

Ours is measured three times: the whole service, whose worker looks at each instance while the next ones
come; its listener process alone, which does what the others do and no more; and that one without fsync,
which promises as little as storescp does.
"""

import mmap
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orthanc_al.dicom import Peer
from orthanc_al.ledger import Ledger
from tests.bench.sending import CALLING_AE, Payload, megabytes, send
from tests.bench.series import Series, Step, rotated
from tests.bench.watching import cpu_seconds, peak_megabytes, quiesce
from tests.support.plain_orthanc import PlainOrthanc
from tests.support.site import ROOT, Site, StoreSCP, listens, peer, wait_until
from tests.support.synthetic import ct_study, film
from tests.support.wire import CT

OURS = "orthanc_al, durable"
LISTENER = "orthanc_al, listener alone"
UNSYNCED = "orthanc_al, without fsync"
STORESCP = "storescp +B"


@dataclass(frozen=True)
class _Case:
    name: str
    instances: int
    lanes: int
    is_film: bool = False

    def make(self, rng: np.random.Generator) -> list[Payload]:
        """Make images with fresh UIDs: a receiver that knows an instance answers without storing it."""
        images = (film(rng) for _ in range(self.instances)) if self.is_film else ct_study(rng, self.instances)
        return [Payload.of(image) for image in images]


_CASES = (
    _Case("CT 0.5 MB, 1 association", 100, 1),
    _Case("CT 0.5 MB, 4 associations", 100, 4),
    _Case("film 15 MB, 1 association", 6, 1, is_film=True),
)


@dataclass(frozen=True)
class _Receiver:
    peer: Peer
    pid: int
    ledger: Ledger | None = None  # of a service that has work of its own after the last answer


def measure(folder: Path, rounds: int, step: Step) -> list[Series]:
    """Send the same images to each receiver, in turn."""
    rng = np.random.default_rng(0)
    speeds = {case: Series(f"receive {case.name}", "MB/s") for case in _CASES}
    rates = {case: Series(f"receive {case.name}", "instances/s") for case in _CASES}
    cpu = Series("receive, all of a round: processor time", "CPU s/GB", higher_is_better=False)
    memory = Series("receive, at the end: peak memory", "MB", higher_is_better=False)
    large = Series("receive an object of 2 GB: peak memory of the listener", "MB", higher_is_better=False)
    with _receivers(folder) as receivers:
        for number in range(rounds):
            before = {who: cpu_seconds(one.pid) for who, one in receivers.items()}
            size = 0.0
            for case in _CASES:
                payloads = case.make(rng)
                size += megabytes(payloads)
                for who, receiver in rotated(receivers, number):
                    seconds = _seconds(payloads, receiver, case.lanes)
                    speeds[case].add(who, megabytes(payloads) / seconds)
                    if who != UNSYNCED:
                        rates[case].add(who, len(payloads) / seconds)
            for who, one in receivers.items():
                cpu.add(who, (cpu_seconds(one.pid) - before[who]) / size * 1e3)
            step()
        for who, one in receivers.items():
            if who not in (STORESCP, LISTENER, UNSYNCED):  # storescp forks a process an association; of
                memory.add(who, peak_megabytes(one.pid))  # ours, the others are started by hand, with the CLI
        send([_huge()], receivers[OURS].peer)
        large.add(OURS, peak_megabytes(receivers[OURS].pid))
    paired = [series for case in _CASES for series in (speeds[case], rates[case])]
    bare = [_without_fsync(speeds[case]) for case in _CASES]
    return [*(series.led_by(OURS) for series in (*paired, cpu, memory, large)), *bare]


def _without_fsync(speeds: Series) -> Series:
    """Return what was measured of those who promise nothing."""
    rounds = {who: speeds.rounds.pop(who) for who in (UNSYNCED,)} | {STORESCP: speeds.rounds[STORESCP]}
    return Series(f"{speeds.measure}, nothing durable", speeds.unit, rounds=rounds)


def _huge() -> Payload:
    """Make an object of 2 GB that takes no memory here: pages that were never written."""
    return Payload(CT, f"2.25.{uuid.uuid4().int}", memoryview(mmap.mmap(-1, 2_000_000_000)))


def _seconds(payloads: Sequence[Payload], receiver: _Receiver, lanes: int) -> float:
    quiesce(receiver.ledger)
    return send(payloads, receiver.peer, lanes).seconds


@contextmanager
def _receivers(folder: Path) -> Iterator[dict[str, _Receiver]]:
    """Start the four receivers."""
    with ExitStack() as stack:
        service = _site(stack, folder / "service", "")
        listener = _site(stack, folder / "listener", "listener")
        unsynced = _unsynced(stack, folder / "unsynced")
        pacs = StoreSCP(folder / "storescp")
        pacs.start()
        stack.callback(pacs.stop)
        orthanc = stack.enter_context(PlainOrthanc(folder / "orthanc"))
        yield {
            OURS: _Receiver(
                Peer("us", "ORTHANC_AL", "127.0.0.1", service.port),
                service.role_pid("listener"),
                stack.enter_context(service.ledger()),
            ),
            LISTENER: _Receiver(
                Peer("listener", "ORTHANC_AL", "127.0.0.1", listener.port), listener.role_pid("listener")
            ),
            UNSYNCED: unsynced,
            STORESCP: _Receiver(Peer("storescp", pacs.ae_title, "127.0.0.1", pacs.port), pacs.pid),
            "Orthanc": _Receiver(
                Peer("orthanc", orthanc.ae_title, "127.0.0.1", orthanc.dicom_port), orthanc.pid
            ),
        }


def _unsynced(stack: ExitStack, folder: Path) -> _Receiver:
    """Start the listener that forces nothing to the disk."""
    site = Site(folder, [peer("bench", CALLING_AE, 1, "source")], {"models": []})
    with (folder / "service.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.unsynced", str(site.config)], stdout=log, stderr=log, cwd=ROOT
        )
    stack.callback(process.wait)
    stack.callback(process.terminate)
    wait_until(lambda: listens(site.port), 60, lambda: f"it did not start: {site.log[-3000:]}")
    return _Receiver(Peer("unsynced", "ORTHANC_AL", "127.0.0.1", site.port), process.pid)


def _site(stack: ExitStack, folder: Path, role: str) -> Site:
    """Start our service without models and destinations: what is measured is the way in."""
    changes = {"models": [], "assemble": {"quiet_seconds": {"default": 0.5, "CR": 0.5, "DX": 0.5}}}
    site = Site(folder, [peer("bench", CALLING_AE, 1, "source")], changes)
    site.start(role=role)
    stack.callback(site.stop)
    return site
