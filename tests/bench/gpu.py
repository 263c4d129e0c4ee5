"""A GPU: what really runs there, ours against bare IO binding, films a second, half precision, and memory.

Each measure names the execution provider that it ran on. Where no GPU is, what can be measured is measured
on the CPU provider, so that only the provider's name differs, and what can't is left out with the reason.
"""

import functools
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydicom import uid

from orthanc_al.inference import ModelPackage, load_package
from orthanc_al.inference.running import PARITY
from orthanc_al.inference.session import CPU, Session, cuda_driver_loads
from orthanc_al.inference.sizes import LARGEST, Filled, FixedSizes, sizes_up_to
from tests.bench import nvidia, precision
from tests.bench.backlog import CORES, WARM, Backlog
from tests.bench.bare import Bound, Placement, placement
from tests.bench.decoding import OURS
from tests.bench.inference import backlogs, medians
from tests.bench.precision import images_of
from tests.bench.series import Series, Step
from tests.support.site import PACKAGE
from tests.support.synthetic import film

Measure = Callable[[Path, int, Step], list[Series]]

_WANTED: Final = 16  # workers
_WORKERS: Final = min(_WANTED, CORES)
_MIXED: Final = (1, 5, 3, 17, 2, 8)  # what a micro-batcher may run one after the other


@dataclass(frozen=True)
class Amounts:
    """How much is measured.

    Attributes
    ----------
    turns
        Of each contestant in a round, by images a run.
    films
        Of a backlog, for each worker.
    of_memory
        Films of the measure of memory.
    """

    turns: Mapping[int, int]
    films: Mapping[uid.UID, int]
    of_memory: int


FULL: Final = Amounts(
    turns={1: 200, 8: 60, 32: 30},
    films={uid.ExplicitVRLittleEndian: 32, uid.JPEG2000Lossless: 8, uid.HTJ2KLossless: 24},
    of_memory=1000,
)


@functools.cache
def provider() -> str:
    """Return what the product's own session runs the shipped package on."""
    return Session(load_package(PACKAGE).contents.model).provider


def said() -> str:
    """Return in one line what is measured."""
    runtime = f"ONNX Runtime {onnxruntime.__version__}"
    if provider() != CPU:
        return f"gpu: {provider()} of {runtime} on {nvidia.gpu() or 'a GPU that nvidia-smi does not tell of'}"
    why = "no NVIDIA driver loads"
    if cuda_driver_loads():
        why = "the driver loads, CUDA does not: make bench EXTRAS=cuda13, or as the log above says"
    return (
        f"gpu: no GPU is used here ({why}): all rows measure {CPU} of {runtime}; CUDA graphs and GPU memory "
        "are left out"
    )


def parts(amounts: Amounts = FULL) -> dict[str, Measure]:
    """Return the measures by their names."""
    measures: dict[str, Measure] = {
        "gpu: provider": _provider,
        "gpu: run": functools.partial(_run, amounts),
        "gpu: backlog": functools.partial(_backlog, amounts),
        "gpu: half precision": functools.partial(_half, amounts),
        "gpu: memory": functools.partial(_memory, amounts),
    }
    return {title: functools.partial(_or_why_not, title, measure) for title, measure in measures.items()}


def _or_why_not(title: str, measure: Measure, folder: Path, rounds: int, step: Step) -> list[Series]:
    """Take a measure; one that fails costs none of the others its figures."""
    try:
        return measure(folder, rounds, step)
    except Exception as error:  # whatever a GPU may do that nobody has seen yet
        traceback.print_exc()
        return [Series(title, "", remark=f"failed: {type(error).__name__}: {error}")]


def _provider(folder: Path, rounds: int, step: Step) -> list[Series]:
    """Count the nodes of the network that each provider runs."""
    package = load_package(PACKAGE)
    found = placement(package.contents.model, images_of(package, 1), tensorrt=package.manifest.run.tensorrt)
    series = Series("nodes of the network by the provider that runs them", "nodes", remark=said())
    for who, nodes in sorted(found.items(), key=lambda one: one[0] != provider()):
        series.add(f"{OURS} on {who}", nodes.total())
    if provider() != CPU:
        series.remark += f". {_fallen(found)}"
    for _ in range(rounds):
        step()
    return [series]


def _fallen(found: Placement) -> str:
    """Return in words which nodes are not on the GPU, and what copies that costs in each run."""
    fallen = ", ".join(f"{count} {operator}" for operator, count in found.get(CPU, {}).items())
    copies = sum(
        count
        for nodes in found.values()
        for operator, count in nodes.items()
        if operator.startswith("Memcpy")
    )
    if not fallen:
        return "All of them are on the GPU"
    return f"On the CPU: {fallen}, with {copies} copies to and fro inside of the network"


def _run(amounts: Amounts, folder: Path, rounds: int, step: Step) -> list[Series]:
    """Take our session against bare IO binding, then batches of sizes that change."""
    package = load_package(PACKAGE)
    works = {images: _contestants(package, images) for images in amounts.turns}
    runs = {
        images: Series(f"{provider()}: run a batch of {images}", "ms", higher_is_better=False)
        for images in amounts.turns
    }
    mixed = Series(
        f"{provider()}: run batches of {', '.join(map(str, _MIXED))}, one after the other",
        "ms",
        higher_is_better=False,
    )
    for images, (_, why) in works.items():
        runs[images].remark = why
    by_size = _by_size(package)
    for _ in range(rounds):
        for images, turns in amounts.turns.items():
            for who, milliseconds in medians(works[images][0], turns):
                runs[images].add(who, milliseconds)
        for who, milliseconds in medians(by_size, min(amounts.turns.values())):
            mixed.add(who, milliseconds)
        step()
    return [*runs.values(), mixed.led_by(next(who for who in by_size if who.startswith(OURS)))]


def _contestants(package: ModelPackage, images: int) -> tuple[dict[str, Callable[[], object]], str]:
    """Return who runs a batch, and why one is missing; each has run, and says what ours says."""
    model, batch = package.contents.model, images_of(package, images)
    session = Session(model, CORES)
    bound = Bound(model, batch, CORES)
    works: dict[str, Callable[[], object]] = {
        f"{OURS}, Session.run": functools.partial(session.run, batch),
        f"IO binding on {bound.device}, copied to and fro": bound.run_with_copies,
        f"IO binding on {bound.device}": bound.run,
    }
    _compare(session, batch, bound)
    if bound.provider == CPU:
        return works, ""
    try:
        graph = Bound(model, batch, CORES, graph=True)
        for _ in range(3):  # records in the first runs
            graph.run()
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        return works, f"no CUDA graph: {type(error).__name__}: {' '.join(str(error).split())[-200:]}"
    _compare(session, batch, graph)
    return {**works, f"IO binding on {graph.device}, CUDA graph": graph.run}, ""


def _compare(session: Session, batch: NDArray[np.float32], bound: Bound) -> None:
    """Refuse figures of a loop that gives something else."""
    gap = float(np.abs(session.run(batch).logits - bound.run_with_copies()[0]).max())
    if not gap <= PARITY:
        raise RuntimeError(f"bare IO binding on {bound.provider} gives logits that differ by {gap:.2g}")


def _by_size(package: ModelPackage) -> dict[str, Callable[[], object]]:
    """Return who runs batches of changing sizes: as they come, and filled up to fixed sizes."""
    model, batches = package.contents.model, [images_of(package, images) for images in _MIXED]
    one = Session(model, CORES)
    sizes = sizes_up_to(LARGEST)
    fixed = FixedSizes([Filled(Session(model, CORES), size) for size in sizes], one.input_name)
    ours = one if provider() == CPU else fixed

    def name(who: Session | FixedSizes, told: str) -> str:
        return f"{OURS}, {told}" if who is ours else told

    def run(who: Session | FixedSizes) -> None:
        for batch in batches:
            who.run(batch)

    return {
        name(one, "one session, as they come"): functools.partial(run, one),
        name(fixed, f"filled up to {', '.join(map(str, sizes))}"): functools.partial(run, fixed),
    }


def _backlog(amounts: Amounts, folder: Path, rounds: int, step: Step) -> list[Series]:
    """Take films a second by the workers' crew, decoding and all."""
    counts = {syntax: films * _WORKERS for syntax, films in amounts.films.items()}
    made = backlogs(folder, rounds, step, counts, workers=_WORKERS, told=f"{provider()}: ")
    if _WORKERS < _WANTED:
        made[0].remark = f"{_WORKERS} workers instead of {_WANTED}: there are {CORES} cores"
    return made


def _half(amounts: Amounts, folder: Path, rounds: int, step: Step) -> list[Series]:
    """Take half precision against float32."""
    return precision.measure(provider(), amounts.turns, folder, rounds, step)


def _memory(amounts: Amounts, folder: Path, rounds: int, step: Step) -> list[Series]:
    """Take the GPU's memory before the first film, after a tenth of them, and after all."""
    series = Series(f"GPU memory in use, {amounts.of_memory:,} films", "MiB", higher_is_better=False)
    if provider() == CPU:
        series.remark = f"left out: the films would run on {CPU}"
    elif _used() is None:
        series.remark = "left out: nvidia-smi is not here, or does not tell"
    else:
        series.remark = "of all processes that have this GPU"
        _fill(series, amounts.of_memory, folder)
    for _ in range(rounds):
        step()
    return [series]


def _fill(series: Series, films: int, folder: Path) -> None:
    radiograph = folder / "radiograph of a GPU.dcm"
    film(np.random.default_rng(1), 1500, 1400, 8).save_as(radiograph, enforce_file_format=True)
    with (
        tempfile.TemporaryDirectory(dir=folder) as house,
        closing(Backlog(Path(house), radiograph, films - WARM, crew=_WORKERS)) as backlog,
    ):
        series.add(f"{OURS}, loaded", _used() or 0.0)
        with backlog.crew() as scored:
            for who, count in ((f"{OURS}, after a tenth", films // 10), (f"{OURS}, after all", films)):
                while scored() < count:
                    time.sleep(0.02)
                series.add(who, _used() or 0.0)


def _used() -> float | None:
    found = nvidia.gpu()
    return None if found is None else found.used
