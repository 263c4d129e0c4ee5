"""Half precision against float32 on the provider that is here: parity on the demo's films, and the time."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orthanc_al.demo.studies import demo_datasets
from orthanc_al.imaging.model_input import model_inputs
from orthanc_al.inference import ModelPackage, load_package
from orthanc_al.inference.half import half_precision
from orthanc_al.inference.reference import probes_for
from orthanc_al.inference.running import PARITY
from orthanc_al.inference.session import Session
from orthanc_al.inference.variant import SCORE, variant_of
from tests.bench.backlog import CORES
from tests.bench.decoding import OURS
from tests.bench.inference import medians
from tests.bench.series import Series, Step
from tests.support.site import PACKAGE


def measure(where: str, turns: Mapping[int, int], folder: Path, rounds: int, step: Step) -> list[Series]:
    """Take half precision against float32: what it says, and how long it takes.

    Parameters
    ----------
    where
        The provider that the product runs on.
    turns
        Of each precision in a round, by images a run.
    """
    package = load_package(PACKAGE)
    model = package.contents.model
    films = list(_films(package, folder))
    figures = variant_of(package, films, CORES).figures
    logit = Series(f"{where}: largest difference of a logit from float32 on the CPU", "")
    logit.add(f"{OURS}, half precision", figures.logit_worst)
    logit.add(f"{OURS}, float32", _gap(package, films))
    logit.remark = f"of {len(films)} films and noise; {PARITY:g} is borne"
    probability = Series(f"{where}: largest difference of a probability", "")
    probability.add(f"{OURS}, half precision", figures.probability_worst)
    probability.remark = f"{SCORE:g} is borne; {figures.crossed} results changed sides of the threshold"
    half, single = Session(half_precision(model), CORES), Session(model, CORES)
    times = {
        images: Series(f"{where}: run a batch of {images}, by precision", "ms", higher_is_better=False)
        for images in turns
    }
    for _ in range(rounds):
        for images, count in turns.items():
            batch = images_of(package, images)
            for who, milliseconds in medians(
                {
                    f"{OURS}, half precision": functools.partial(half.run, batch),
                    "float32": functools.partial(single.run, batch),
                },
                count,
            ):
                times[images].add(who, milliseconds)
        step()
    return [logit, probability, *times.values()]


def _gap(package: ModelPackage, films: Sequence[NDArray[np.float32]]) -> float:
    """Return the largest difference of a logit between the provider and the CPU, in float32."""
    model = package.contents.model
    here, cpu = Session(model, CORES), Session(model, CORES, cpu=True)
    images = [*probes_for(package.manifest), *films]
    return max(
        float(np.abs(here.run(image[np.newaxis]).logits - cpu.run(image[np.newaxis]).logits).max())
        for image in images
    )


def _films(package: ModelPackage, folder: Path) -> Sequence[NDArray[np.float32]]:
    """Return the demo's films as the network sees them."""
    made = []
    for number, dataset in enumerate(demo_datasets(0.0)):
        path = folder / f"film of the demo {number}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        made += [one.pixels for one in model_inputs(path, package.manifest.preprocessing)]
    return made


def images_of(package: ModelPackage, images: int) -> NDArray[np.float32]:
    """Return a batch of noise of the network's input size."""
    probes = probes_for(package.manifest)
    return np.ascontiguousarray(np.tile(probes, (-(-images // len(probes)), 1, 1, 1))[:images])
