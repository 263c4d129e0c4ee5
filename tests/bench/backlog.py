"""Films in the spool of a ledger, complete and due, and the two that score them: the crew, and a bare loop.

The rate of either is taken between the end of its first films and that of its last, so that neither pays
for what it loads, nor the crew for the wait before its first look at the ledger.
"""

import copy
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pydicom
from pydicom.uid import generate_uid

from orthanc_al.domain.criteria import Criteria
from orthanc_al.imaging.model_input import model_inputs
from orthanc_al.inference import load_package
from orthanc_al.inference.session import Session
from orthanc_al.ledger import Ledger, Worker, WorkQueue
from orthanc_al.pipeline import Step
from orthanc_al.score.match import ModelUse
from tests.bench.sending import Payload
from tests.support.pipeline import Pipeline
from tests.support.site import PACKAGE

CORES: Final = os.cpu_count() or 1
CREW: Final = CORES + 1  # as many as the role worker has, where it is not said otherwise
WARM: Final = 2 * CREW  # films that end before the clock starts
_POLL_SECONDS: Final = 0.003


class Backlog:
    """Films that wait for their scores, each a study of its own, as they came: one after the other.

    Parameters
    ----------
    folder
        Gets ledger and spool.
    film
        All have its pixels.
    count
        How many, beside `WARM`.
    crew
        Threads that score them.
    """

    def __init__(self, folder: Path, film: Path, count: int, crew: int = CREW) -> None:
        self._count = count + WARM
        self._crew = crew
        self._path = folder / "ledger.sqlite"
        self.ledger = Ledger.create(f"sqlite:///{self._path}")
        package = load_package(PACKAGE)
        self._spec = package.manifest.preprocessing
        self.pipeline = Pipeline(self.ledger, folder, ModelUse(package.ref.name, Criteria(("CR", "DX"))))
        self.pipeline.install(package)
        self.pipeline.running.get(package.folder, package.ref)
        self._session = Session(package.contents.model, 1)
        self._paths = [self._take_in(payload) for payload in _payloads(film, self._count)]

    def _take_in(self, payload: Payload) -> Path:
        instance = self.pipeline.receive_bytes(
            bytes(payload.data_set),
            payload.sop_class_uid,
            payload.sop_instance_uid,
            payload.transfer_syntax_uid,
        )
        worker = self._worker("bench-0", {Step.ARRIVE, Step.ASSEMBLE})
        while worker.run_once():
            pass
        return self.pipeline.spool.path(instance)

    def _worker(self, name: str, steps: set[Step]) -> Worker:
        stages = {step: stage for step, stage in self.pipeline.stages.items() if step in steps}
        return Worker(self.ledger, WorkQueue(self.ledger, name), stages)

    @contextmanager
    def crew(self) -> Iterator[Callable[[], int]]:
        """Score with the crew's threads; yield what says how many films have their score."""
        over = threading.Event()
        workers = [self._worker(f"bench-{n}", {Step.SCORE_IMAGE, Step.SCORE}) for n in range(self._crew)]
        crew = [threading.Thread(target=worker.run, args=(over,)) for worker in workers]
        for thread in crew:
            thread.start()
        try:
            with closing(sqlite3.connect(self._path)) as watcher:
                yield lambda: _scored(watcher)
        finally:
            over.set()
            for thread in crew:
                thread.join()

    def score(self) -> float:
        """Have the crew score all of it; return films a second."""
        with self.crew() as scored:
            return _rate(scored, self._count)

    def bare(self, count: int = CORES) -> float:
        """Decode, prepare and run in ``count`` bare threads; return films a second."""
        ended: list[None] = []

        def loop(paths: Sequence[Path]) -> None:
            for path in paths:
                for image in model_inputs(path, self._spec):
                    self._session.run(image.pixels[np.newaxis])
                ended.append(None)

        threads = [threading.Thread(target=loop, args=(self._paths[n::count],)) for n in range(count)]
        for thread in threads:
            thread.start()
        rate = _rate(lambda: len(ended), self._count)
        for thread in threads:
            thread.join()
        return rate

    def close(self) -> None:
        """Close the ledger."""
        self.ledger.close()


def _payloads(film: Path, count: int) -> Iterator[Payload]:
    like = pydicom.dcmread(film)
    for _ in range(count):
        made = copy.copy(like)
        made.StudyInstanceUID, made.SeriesInstanceUID, made.SOPInstanceUID = (generate_uid() for _ in "123")
        made.NumberOfStudyRelatedInstances = 1
        yield Payload.of(made, str(like.file_meta.TransferSyntaxUID))


def _rate(ended: Callable[[], int], count: int) -> float:
    """Wait for the end of ``count`` films; return films a second after the first `WARM`."""
    while ended() < WARM:
        time.sleep(_POLL_SECONDS)
    first, before = time.perf_counter(), ended()
    while ended() < count:
        time.sleep(_POLL_SECONDS)
    return (count - before) / (time.perf_counter() - first)


def _scored(watcher: sqlite3.Connection) -> int:
    (count,) = watcher.execute("SELECT count(DISTINCT study_instance_uid) FROM predictions").fetchone()
    return int(count)
