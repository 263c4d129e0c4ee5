"""Score: how long a film waits for its SR, and how many films a second the service scores.

The service is whole and has its own processes; the PACS is a storescp +B that gets images and results.
No study is drawn for review, so that each gets an SR. Throughput is taken from a backlog: scoring is
paused while the films come in, then resumed. Beside it stand bare loops over the same files in one
process, without ledger, queue and reports.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pydicom
from pydicom.uid import Comprehensive3DSRStorage
from sqlalchemy import func, select

from orthanc_al.dicom import Peer
from orthanc_al.imaging.model_input import model_inputs
from orthanc_al.inference import ModelPackage, load_package
from orthanc_al.inference.session import Session
from orthanc_al.ledger import Ledger, deliveries, facts, waiting
from orthanc_al.ledger.deliveries import DeliveryState
from orthanc_al.ledger.schema import predictions
from orthanc_al.pipeline import SCORING_STEPS
from orthanc_al.pipeline import Step as Work
from tests.bench.sending import CALLING_AE, Payload, Sent, send
from tests.bench.series import Series, Step, rotated
from tests.bench.watching import arrival, names, quiesce
from tests.support.site import PACKAGE, Site, StoreSCP, peer, wait_until
from tests.support.synthetic import film

QUIET_SECONDS = 1.0
THREADS = 2  # of the service: [inference] threads, and the worker's threads
SCORED, REPORTED = "orthanc_al, backlog scored", "orthanc_al, backlog scored, SR at the PACS"


@dataclass(frozen=True)
class _Kind:
    name: str
    rows: int
    columns: int
    bits: int
    count: int  # films of a backlog

    def make(self, rng: np.random.Generator, *, counted: bool) -> Payload:
        """Make a film of a new study; ``counted``: it says that it is the study's only one."""
        image = film(rng, self.rows, self.columns, self.bits)
        if counted:
            image.NumberOfStudyRelatedInstances = 1
        return Payload.of(image)


_KINDS = (_Kind("film 15 MB", 3000, 2500, 16, 16), _Kind("radiograph 2 MB", 1500, 1400, 8, 40))


@dataclass(frozen=True)
class House:
    """Our service, the PACS behind it, and our ledger."""

    peer: Peer
    pacs: Path
    ledger: Ledger


def measure(folder: Path, rounds: int, step: Step) -> list[Series]:
    """Take the waiting times, then the throughput."""
    rng = np.random.default_rng(2)
    waits = {
        (kind, counted): Series(_waiting(kind, counted=counted), "s", higher_is_better=False)
        for kind in _KINDS
        for counted in (True, False)
    }
    rates = {kind: Series(f"score {kind.name}", "images/s") for kind in _KINDS}
    with house(folder) as ours:
        _wait_for_report(ours, _KINDS[1].make(rng, counted=True))  # loads what the first report loads
        for number in range(rounds):
            for (kind, counted), series in waits.items():
                series.add("orthanc_al", _wait_for_report(ours, kind.make(rng, counted=counted)))
            for kind, series in rates.items():
                payloads = [kind.make(rng, counted=True) for _ in range(kind.count)]
                paths = [payload.save(folder / "files") for payload in payloads]
                for _, work in rotated(_contestants(ours, payloads, paths), number):
                    for who, seconds in work().items():
                        series.add(who, kind.count / seconds)
                for path in paths:
                    path.unlink()
            step()
    return [*waits.values(), *(series.led_by(SCORED) for series in rates.values())]


def _waiting(kind: _Kind, *, counted: bool) -> str:
    how = "complete by count (0020,1208)" if counted else f"quiet time of {QUIET_SECONDS:g} s included"
    return f"last acknowledgement to SR at the PACS, {kind.name}, {how}"


def _wait_for_report(house: House, payload: Payload) -> float:
    """Send a film and return the seconds from its acknowledgement until its SR is at the PACS."""
    quiesce(house.ledger)
    known = names(house.pacs)
    sent: Sent = send([payload], house.peer)
    seconds = arrival(house.pacs, known, 2) - sent.acknowledged_at
    classes = {
        pydicom.dcmread(house.pacs / name, specific_tags=["SOPClassUID"]).SOPClassUID
        for name in names(house.pacs) - known
    }
    if classes != {payload.sop_class_uid, Comprehensive3DSRStorage}:
        raise RuntimeError(f"the PACS got {sorted(classes)} instead of the film and its SR")
    return seconds


def _contestants(
    house: House, payloads: Sequence[Payload], paths: Sequence[Path]
) -> dict[str, Callable[[], dict[str, float]]]:
    """Return the works; each returns seconds by contestant."""
    package = load_package(PACKAGE)
    return {
        SCORED: lambda: _score_backlog(house, payloads),
        "bare loop": lambda: {"bare loop, our decoding": _timed(lambda: _bare(paths, package))},
        "bare threads": lambda: {
            f"bare loop, our decoding, {THREADS} threads": _timed(lambda: _bare_threads(paths, package))
        },
        "plain": lambda: {"bare loop, pydicom and cv2": _timed(lambda: _plain(paths, package))},
    }


def _score_backlog(house: House, payloads: Sequence[Payload]) -> dict[str, float]:
    """Send with scoring paused, resume, and return the seconds until all is scored and all is reported."""
    quiesce(house.ledger)
    before = scored(house.ledger)
    known = names(house.pacs)
    pause(house.ledger, "yes")
    send(payloads, house.peer)
    wait_until(lambda: only_scoring_waits(house.ledger, len(payloads)), 120, "the films did not come in")
    quiesce()
    known |= names(house.pacs)
    began = time.perf_counter()
    pause(house.ledger, "no")
    while scored(house.ledger) - before < len(payloads):
        time.sleep(0.02)
    took = time.perf_counter() - began
    return {SCORED: took, REPORTED: arrival(house.pacs, known, len(payloads)) - began}


def pause(ledger: Ledger, value: str) -> None:
    """Do what `orthanc-al pause` and `resume` do."""
    with ledger.write() as connection:
        facts.put(connection, facts.PAUSED, value)


def scored(ledger: Ledger) -> int:
    """Return how many studies have a score."""
    with ledger.read() as connection:
        studies = select(func.count(predictions.c.study_instance_uid.distinct()))
        return int(connection.execute(studies).scalar_one())


def only_scoring_waits(ledger: Ledger, films: int) -> bool:
    """Whether all films are in, forwarded and complete, and nothing but scoring is left to do."""
    with ledger.read() as connection:
        jobs = waiting.counts(connection)
        forwarded = deliveries.counts(connection)
    if any(state is DeliveryState.WAITING for _, state in forwarded):
        return False
    return {step for step, _ in jobs} <= SCORING_STEPS and jobs.get((Work.SCORE.value, "ready"), 0) == films


def _timed(work: Callable[[], object]) -> float:
    quiesce()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _bare(paths: Sequence[Path], package: ModelPackage, session: Session | None = None) -> None:
    """Decode, preprocess and run, file by file."""
    session = session or Session(package.contents.model, THREADS)
    for path in paths:
        for image in model_inputs(path, package.manifest.preprocessing):
            session.run(image.pixels[np.newaxis])


def _bare_threads(paths: Sequence[Path], package: ModelPackage) -> None:
    session = Session(package.contents.model, THREADS)
    threads = [
        threading.Thread(target=_bare, args=(paths[number::THREADS], package, session))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _plain(paths: Sequence[Path], package: ModelPackage) -> None:
    """Decode by pydicom, resize by area, standardize and run: the least that a script would do."""
    session = Session(package.contents.model, THREADS)
    size = package.manifest.preprocessing.size
    for path in paths:
        pixels = pydicom.dcmread(path).pixel_array.astype(np.float32)
        small = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)
        session.run(((small - small.mean()) / small.std())[np.newaxis, np.newaxis])


@contextmanager
def house(folder: Path) -> Iterator[House]:
    """Start service and PACS; no study is drawn for review."""
    with ExitStack() as stack:
        pacs = StoreSCP(folder / "pacs")
        pacs.start()
        stack.callback(pacs.stop)
        site = Site(
            folder / "house",
            [
                peer("bench", CALLING_AE, 1, "source"),
                peer("pacs", pacs.ae_title, pacs.port, "destination", "results"),
            ],
            {
                "assemble": {"quiet_seconds": {"default": QUIET_SECONDS, "DX": QUIET_SECONDS}},
                "inference": {"threads": THREADS},
                "review": {"budget_per_day": 0, "audit_fraction": 0},
            },
        )
        site.start()
        stack.callback(site.stop)
        ledger = stack.enter_context(site.ledger())
        yield House(Peer("us", "ORTHANC_AL", "127.0.0.1", site.port), pacs.folder, ledger)
