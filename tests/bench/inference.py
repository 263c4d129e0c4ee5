"""Score, in one process: the workers' crew against a bare loop of as many threads as cores, by syntax.

``python -m tests.bench.inference`` prints the rows: how fast the crew empties a backlog of single-film
studies through queue and ledger, against decode + prepare + run over the same files in bare threads; the
micro-batcher against the session that it runs; what a lone request costs more; and memory over many films.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.encaps import encapsulate
from sqlalchemy import select, update

from orthanc_al.domain.criteria import Criteria
from orthanc_al.imaging.model_input import model_inputs
from orthanc_al.inference import load_package
from orthanc_al.inference.batcher import Batcher
from orthanc_al.inference.reference import probes_for
from orthanc_al.inference.session import Session
from orthanc_al.ledger import Ledger, Worker, WorkQueue
from orthanc_al.ledger.schema import jobs
from orthanc_al.pipeline import Step
from orthanc_al.score.match import ModelUse
from tests.bench.decoding import _ENCODERS, name_of
from tests.support.pipeline import Pipeline
from tests.support.site import PACKAGE
from tests.support.synthetic import film

CORES = os.cpu_count() or 1
CREW = CORES + 1  # as the role worker has it


def _films(kind: str, count: int) -> Iterator[Any]:
    rows, columns, bits = (3000, 2500, 16) if kind == "film" else (1500, 1400, 8)
    random = np.random.default_rng(1)
    pixels = film(random, rows, columns, bits)
    for _ in range(count):
        made = film(random, 64, 64, bits)
        for name in ("Rows", "Columns", "PixelData"):
            setattr(made, name, getattr(pixels, name))
        made.NumberOfStudyRelatedInstances = 1
        yield made


def _packed(image: Any, syntax: Any) -> Any:
    if syntax is not None:
        image.PixelData = encapsulate([_encoded(image, syntax)])
        image["PixelData"].VR = "OB"
        image.file_meta.TransferSyntaxUID = syntax
    return image


_KEPT: dict[Any, bytes] = {}


def _encoded(image: Any, syntax: Any) -> bytes:
    if syntax not in _KEPT:  # all films of a backlog have the same pixels: encoding is slow
        kind = np.uint16 if image.BitsAllocated == 16 else np.uint8
        pixels = np.frombuffer(image.PixelData, kind).reshape(image.Rows, image.Columns)
        _KEPT[syntax] = bytes(_ENCODERS[syntax](pixels))
    return _KEPT[syntax]


class _Backlog:
    """Films in the spool of a ledger, complete and due, and what scores them."""

    def __init__(self, folder: Path, kind: str, syntax: Any, count: int) -> None:
        self._ledger = Ledger.create(f"sqlite:///{folder}/ledger.sqlite")
        package = load_package(PACKAGE)
        self.spec = package.manifest.preprocessing
        use = ModelUse(package.ref.name, Criteria(("CR", "DX")))
        self._pipeline = Pipeline(self._ledger, folder, use)
        self._pipeline.install(package)
        self.session = self._pipeline.running.get(package.folder, package.ref).session
        self.paths = []
        for image in _films(kind, count):
            path = folder / "film.dcm"
            _packed(image, syntax).save_as(path, enforce_file_format=True)
            self.paths.append(self._pipeline.spool.path(self._pipeline.receive(path)))
        self._work({Step.ARRIVE, Step.ASSEMBLE}, 1)
        self._waiting = self._rows()

    def _rows(self) -> list[dict[str, Any]]:
        with self._ledger.read() as connection:
            return [dict(row) for row in connection.execute(select(jobs)).mappings()]

    def _work(self, steps: set[Step], threads: int) -> None:
        stages = {step: stage for step, stage in self._pipeline.stages.items() if step in steps}
        names = {step.value for step in steps}

        def work(number: int) -> None:
            Worker(self._ledger, WorkQueue(self._ledger, f"bench-{number}"), stages).run(over)

        over = threading.Event()
        crew = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for thread in crew:
            thread.start()
        while any(row["step"] in names for row in self._rows()):
            time.sleep(0.02)
        over.set()
        for thread in crew:
            thread.join()

    def score(self) -> float:
        """Return the seconds in which the crew scored all of it."""
        began = time.perf_counter()
        self._work({Step.SCORE_IMAGE, Step.SCORE}, CREW)
        return time.perf_counter() - began

    def bare(self) -> float:
        """Return the seconds of decode + prepare + run in bare threads."""
        session = Session(load_package(PACKAGE).contents.model, 1)

        def loop(paths: Sequence[Path]) -> None:
            for path in paths:
                for image in model_inputs(path, self.spec):
                    session.run(image.pixels[np.newaxis])

        threads = [threading.Thread(target=loop, args=(self.paths[n::CORES],)) for n in range(CORES)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - began

    def close(self) -> None:
        self._ledger.close()


def _throughput(kind: str, count: int, rounds: int) -> None:
    for syntax in (None, *_ENCODERS):
        ours, bare = [], []
        for number in range(rounds):
            with (
                tempfile.TemporaryDirectory() as folder,
                closing(_Backlog(Path(folder), kind, syntax, count)) as backlog,
            ):
                turns = [(ours, backlog.score), (bare, backlog.bare)]
                for figures, work in turns if number % 2 else turns[::-1]:
                    figures.append(count / work())
        _KEPT.clear()
        ratio = statistics.median(one / other for one, other in zip(ours, bare, strict=True))
        name = "uncompressed" if syntax is None else name_of(syntax)
        told = f"{statistics.median(ours):.1f} against {statistics.median(bare):.1f} films/s"
        _row(f"{kind}, {name}: crew against bare loop", told, f"{ratio:.2f}x", "0.90x")


def _batcher() -> None:
    package = load_package(PACKAGE)
    images = np.concatenate([probes_for(package.manifest)] * 2)
    session = Session(package.contents.model, CORES)
    batcher = Batcher(session, 8)

    def both(batch: Any, times: int) -> tuple[float, float]:
        """Return the median seconds of the batcher and of the session, turn about: neighbours hit both."""
        seconds: tuple[list[float], list[float]] = ([], [])
        for number in range(times):
            turns = list(zip((batcher, session), seconds, strict=True))
            for scorer, figures in turns if number % 2 else turns[::-1]:
                began = time.perf_counter()
                scorer.run(batch)
                figures.append(time.perf_counter() - began)
        return statistics.median(seconds[0]), statistics.median(seconds[1])

    (ours8, bare8), (ours1, bare1) = both(images, 60), both(images[:1], 400)
    told = f"{1e3 * ours8:.2f} against {1e3 * bare8:.2f} ms"
    _row("micro-batcher against bare run, batch 8", told, f"{ours8 / bare8:.2f}x", "1.05x")
    told = f"{1e3 * ours1:.2f} against {1e3 * bare1:.2f} ms"
    _row("lone request", told, f"{1e3 * (ours1 - bare1):+.2f} ms", "+0.5 ms")


def _memory(films: int) -> None:
    """Score the same few films over and over, as new work each time."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(_Backlog(Path(folder), "radiograph", None, 20)) as backlog,
    ):
        seen = []
        for _ in range(films // 20):
            with backlog._ledger.write() as connection:
                connection.execute(update(jobs).values(run_at=0.0))
                for row in backlog._waiting:
                    if row["step"] == Step.SCORE_IMAGE.value:
                        connection.execute(jobs.insert().prefix_with("OR IGNORE"), {**row, "id": None})
            backlog._work({Step.SCORE_IMAGE}, CREW)
            seen.append(_resident())
    told = f"{seen[len(seen) // 10]:.0f} MB after a tenth, {seen[-1]:.0f} MB after {films} films"
    _row("memory of a worker", told, f"{seen[-1]:.0f} MB", "flat, < 1 GB")


def _row(*cells: str) -> None:
    """Print a row as soon as it is there."""
    print(f"| {' | '.join(cells)} |", flush=True)


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=16, help="films of a backlog")
    parser.add_argument("--films", type=int, default=1000, help="of the measure of memory")
    parser.add_argument("--only", nargs="+", default=["batcher", "throughput", "memory"])
    asked = parser.parse_args()
    session = Session(load_package(PACKAGE).contents.model)
    load = f"load {os.getloadavg()[0]:.1f}"
    print(f"Inference on {session.provider}, {CORES} cores, {load} at the start")
    print("| measure | figures | ratio | bar |\n|---|---|--:|--:|")
    if "batcher" in asked.only:
        _batcher()
    if "throughput" in asked.only:
        _throughput("film", asked.count, asked.rounds)
    if "memory" in asked.only:
        _memory(asked.films)


if __name__ == "__main__":
    main()
