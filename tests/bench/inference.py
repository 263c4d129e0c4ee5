"""Score, in one process: the workers' crew against a bare loop, the micro-batcher, and memory over films.

The crew empties a backlog of single-film studies through queue and ledger (``score_image`` and ``score``);
the bare loop does decode, prepare and run over the same files in as many threads as there are cores.
"""

import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np
from pydicom import uid

from orthanc_al.inference import load_package
from orthanc_al.inference.batcher import Batcher
from orthanc_al.inference.running import probes_for
from orthanc_al.inference.session import Session
from tests.bench.backlog import CORES, CREW, WARM, Backlog
from tests.bench.decoding import films_of_noise, name_of
from tests.bench.series import Series, Step, rotated
from tests.support.site import PACKAGE
from tests.support.synthetic import film

_COUNTS: Final[Mapping[uid.UID, int]] = {
    uid.ExplicitVRLittleEndian: 96,
    uid.JPEGLosslessSV1: 32,
    uid.JPEGLSLossless: 24,
    uid.JPEG2000Lossless: 16,
    uid.HTJ2KLossless: 64,
}
"""Films of a backlog: some seconds each."""
_BATCHER, _SESSION = "orthanc_al, micro-batcher", "the session that it runs"
_BATCH_TURNS, _LONE_TURNS = 60, 400
_FILMS: Final = 1000  # of the measure of memory


def throughput(folder: Path, rounds: int, step: Step) -> list[Series]:
    """Take the crew and the bare loop, by turns over one backlog a round and syntax."""
    return backlogs(folder, rounds, step, _COUNTS)


def backlogs(
    folder: Path,
    rounds: int,
    step: Step,
    counts: Mapping[uid.UID, int],
    *,
    workers: int = 0,
    told: str = "",
) -> list[Series]:
    """Take the crew and the bare loop, by turns over one backlog a round and syntax.

    Parameters
    ----------
    workers
        Threads of the crew and of the loop; 0: as many as the service has, and as there are cores.
    told
        What the measures' names begin with.
    """
    crew = f"orthanc_al, the workers' crew{f' of {workers}' if workers else ''}"
    bare = f"bare loop, {workers or CORES} threads"
    paths = films_of_noise(folder / "films of backlogs")
    rates = {
        syntax: Series(f"{told}score a backlog of films 3000 x 2500, {name_of(syntax)}", "films/s")
        for syntax in counts
    }
    for number in range(rounds):
        for syntax, series in rates.items():
            with (
                tempfile.TemporaryDirectory(dir=folder) as house,
                closing(Backlog(Path(house), paths[syntax], counts[syntax], crew=workers or CREW)) as backlog,
            ):
                loop = functools.partial(backlog.bare, workers or CORES)
                for who, work in rotated({crew: backlog.score, bare: loop}, number):
                    series.add(who, work())
        step()
    return [series.led_by(crew) for series in rates.values()]


def batcher(rounds: int, step: Step) -> list[Series]:
    """Take a batch of 8 and a lone request."""
    package = load_package(PACKAGE)
    images = np.concatenate([probes_for(package.manifest)] * 2)
    session = Session(package.contents.model, CORES)
    contestants = {_BATCHER: Batcher(session, 8), _SESSION: session}
    eight = Series("run a batch of 8", "ms", higher_is_better=False)
    lone = Series("run a lone request", "ms", higher_is_better=False)
    for _ in range(rounds):
        for series, batch, turns in ((eight, images, _BATCH_TURNS), (lone, images[:1], _LONE_TURNS)):
            works = {who: functools.partial(scorer.run, batch) for who, scorer in contestants.items()}
            for who, milliseconds in medians(works, turns):
                series.add(who, milliseconds)
        step()
    return [eight, lone]


def medians(works: Mapping[str, Callable[[], object]], turns: int) -> Iterator[tuple[str, float]]:
    """Yield the median milliseconds of each, turn about: neighbours hit all."""
    taken: dict[str, list[float]] = {who: [] for who in works}
    for number in range(turns):
        for who, work in rotated(works, number):
            began = time.perf_counter()
            work()
            taken[who].append(1000 * (time.perf_counter() - began))
    for who, figures in taken.items():
        yield who, statistics.median(figures)


def memory(folder: Path, step: Step) -> list[Series]:
    """Take what the process holds after a tenth of the films, and after all."""
    radiograph = folder / "radiograph.dcm"
    film(np.random.default_rng(1), 1500, 1400, 8).save_as(radiograph, enforce_file_format=True)
    series = Series(f"memory of the process that scored {_FILMS:,} films", "MB", higher_is_better=False)
    with (
        tempfile.TemporaryDirectory(dir=folder) as house,
        closing(Backlog(Path(house), radiograph, _FILMS - WARM)) as backlog,
        backlog.crew() as scored,
    ):
        for who, films in (("orthanc_al, after a tenth of them", _FILMS // 10), ("orthanc_al", _FILMS)):
            while scored() < films:
                time.sleep(0.02)
            series.add(who, _resident())
    step()
    return [series]


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
