"""Receive: MB/s and instances/s of our durable listener, of storescp and of Orthanc, by the same sender."""

import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from orthanc_al.dicom import Peer
from orthanc_al.dicom.sender import send_files
from tests.bench.series import Series, Step
from tests.support.plain_orthanc import PlainOrthanc
from tests.support.site import Site, StoreSCP, peer
from tests.support.synthetic import ct_slice, film

OURS = "orthanc_al (durable)"
CASES = (
    ("CT 0.5 MB, 1 association", "ct", 100, 1),
    ("CT 0.5 MB, 4 associations", "ct", 100, 4),
    ("film 15 MB", "film", 6, 1),
)


def measure(folder: Path, rounds: int, step: Step) -> list[Series]:
    """Send the same files to each receiver, in turn."""
    rng = np.random.default_rng(0)
    results = []
    with _receivers(folder) as receivers:
        cases = [
            (
                name,
                Series(f"receive {name}", "MB/s"),
                Series(f"receive {name}", "instances/s"),
                kind,
                count,
                lanes,
            )
            for name, kind, count, lanes in CASES
        ]
        for number in range(rounds):
            for name, speed, rate, kind, count, lanes in cases:
                files = _files(folder / f"{name}-{number}".replace(" ", "-"), kind, count, rng)
                size = sum(path.stat().st_size for path in files) / 1e6
                order = list(receivers.items())
                for who, receiver in order[number % 3 :] + order[: number % 3]:
                    seconds = _send(files, receiver, lanes)
                    speed.add(who, size / seconds)
                    rate.add(who, count / seconds)
                shutil.rmtree(files[0].parent)
            step()
        for _, speed, rate, *_ in cases:
            results += [_ours_first(speed), _ours_first(rate)]
    return results


def _ours_first(series: Series) -> Series:
    series.rounds = {OURS: series.rounds.pop(OURS), **series.rounds}
    return series


def _files(folder: Path, kind: str, count: int, rng: np.random.Generator) -> list[Path]:
    """Write ``count`` files with fresh UIDs: a receiver that knows an instance answers without storing it."""
    folder.mkdir(parents=True)
    paths = []
    make = ct_slice if kind == "ct" else film
    for number in range(count):
        paths.append(folder / f"{number:04d}.dcm")
        make(rng, number).save_as(paths[-1], enforce_file_format=True)
    return paths


def _send(files: Sequence[Path], receiver: Peer, lanes: int) -> float:
    """Send the files over ``lanes`` associations at once and return the seconds until the last answer."""
    failures: list[str] = []

    def lane(number: int) -> None:
        report = send_files(files[number::lanes], receiver, calling_ae="BENCH", on_progress=lambda _: None)
        failures.extend(report.failures)

    threads = [threading.Thread(target=lane, args=(number,)) for number in range(lanes)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    if failures:
        raise RuntimeError(f"{receiver.name} refused: {failures[0]}")
    return seconds


@contextmanager
def _receivers(folder: Path) -> Iterator[dict[str, Peer]]:
    """Start the three receivers."""
    with ExitStack() as stack:
        site = Site(folder / "site", [peer("bench", "BENCH", 1, "source")], {"models": []})
        site.start()
        stack.callback(site.stop)
        pacs = StoreSCP(folder / "storescp")
        pacs.start()
        stack.callback(pacs.stop)
        orthanc = stack.enter_context(PlainOrthanc(folder / "orthanc"))
        yield {
            OURS: Peer("us", "ORTHANC_AL", "127.0.0.1", site.port, ()),
            "storescp +B": Peer("storescp", pacs.ae_title, "127.0.0.1", pacs.port, ()),
            "Orthanc": Peer("orthanc", orthanc.ae_title, "127.0.0.1", orthanc.dicom_port, ()),
        }
