"""A package's variant in half precision, and the figures that it has to show before it is written."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from orthanc_al.errors import ModelError, PackageRefusedError, ProviderError
from orthanc_al.inference.half import LARGEST, half_precision, largest_values
from orthanc_al.inference.manifest import Manifest
from orthanc_al.inference.package import ModelPackage, write_package
from orthanc_al.inference.reference import probes_for
from orthanc_al.inference.running import DEVICES, PARITY
from orthanc_al.inference.scorer import Scorer, parity_fault
from orthanc_al.inference.session import CPU, Session

SCORE: Final = 0.01
"""Largest difference of a calibrated probability that is borne."""

_BATCH: Final = 8
_TURNS: Final = 21  # of each network, in turn: the median of an odd number is one of them


@dataclass(frozen=True, slots=True)
class Figures:
    """What a network in half precision gives, beside the one that the thresholds were computed on.

    Attributes
    ----------
    provider
        What half precision ran on.
    films
        Real images among those that were compared; noise is compared in any case.
    sizes
        Bytes of the two networks, float32 first, as in ``milliseconds``.
    milliseconds
        Of one image, alone, on the provider: medians of turns about.
    logit_mean, logit_worst, probability_mean, probability_worst
        Absolute differences, over images and findings; the probabilities are calibrated.
    domain_worst
        Of the distance from the training data, whose domain ends at 1; 0 where the package knows none.
    crossed
        Results, of images and findings, that changed sides of the operating threshold.
    largest
        Largest absolute value inside of the part in half precision, which ends at 65504.
    """

    provider: str
    films: int
    sizes: tuple[int, int]
    milliseconds: tuple[float, float]
    logit_mean: float
    logit_worst: float
    probability_mean: float
    probability_worst: float
    domain_worst: float
    crossed: int
    largest: float

    @property
    def faster(self) -> float:
        """How many times as fast half precision is."""
        return self.milliseconds[0] / self.milliseconds[1]

    @property
    def on_cpu(self) -> bool:
        """Whether it ran on the CPU, which computes in float32 and casts to and fro."""
        return self.provider == CPU


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant that passed, not yet written.

    Attributes
    ----------
    model
        Bytes of its ``model.onnx``.
    reference
        As `orthanc_al.inference.contents.PackageContents.reference`.
    """

    parent: ModelPackage
    model: bytes
    reference: NDArray[np.float32]
    figures: Figures

    @property
    def version(self) -> str:
        """The parent's, marked."""
        return f"{self.parent.ref.version}.fp16"

    def write(self, folder: Path) -> ModelPackage:
        """Write the package and return it as read back; the same again is the same bytes.

        Raises
        ------
        PackageRefusedError
            Another package is in the folder.
        ModelError
            The folder can't be written; nothing is left there.
        """
        parent = self.parent
        contents = replace(parent.contents, model=self.model, reference=self.reference)
        run = {"precision": "fp16", "thresholds_precision": "fp32"}
        keys = {
            "version": self.version,
            "parent": parent.ref.digest,
            "files": contents.digests(),
            "run": parent.manifest.run.model_copy(update=run),
        }
        try:
            return write_package(folder, Manifest(**{**dict(parent.manifest), **keys}), contents, _card(self))
        except OSError as error:
            raise ModelError(
                f"{folder} can't be written ({error.strerror}), and nothing was left there: make room, or "
                "give the service's user the right to write (storage.models), and try again."
            ) from error


def variant_of(parent: ModelPackage, films: Sequence[NDArray[np.float32]] = (), threads: int = 1) -> Variant:
    """Convert a package's network, and compare it with what the thresholds were computed on.

    Parameters
    ----------
    films
        Model inputs of real images, each of shape (channels, size, size).
    threads
        Of one run on the CPU.

    Raises
    ------
    PackageRefusedError
        The network can't be had in half precision, or what it gives then is not what the thresholds were
        computed on; the text says by how much.
    ProviderError
        The device that they were computed on is not here.
    """
    run, model = parent.manifest.run, parent.contents.model
    if run.precision != "fp32":
        raise PackageRefusedError(
            f"{parent.ref} is in half precision already: name the float32 one (`orthanc-al models list`)"
        )
    half = half_precision(model)
    reference = _reference(parent, threads)
    probes = probes_for(parent.manifest)
    images = np.concatenate([probes, *(film[np.newaxis] for film in films)]).astype(np.float32)
    try:
        session = Session(half, threads, tensorrt=run.tensorrt)
    except ModelError as error:  # operators that know no half precision, such as those of 8-bit networks
        raise PackageRefusedError(f"{parent.ref} can't be had in half precision: {error}") from error
    largest = _largest(model, images)
    if not largest <= LARGEST:
        raise PackageRefusedError(
            f"{parent.ref} can't be had in half precision: a value inside reaches {largest:.3g}, half "
            f"precision ends at {LARGEST:.0f}, and what is larger is infinite on a GPU"
        )
    figures = replace(
        _compared(parent, reference, session, images),
        films=len(films),
        sizes=(len(model), len(half)),
        milliseconds=_timed(Session(model, threads, tensorrt=run.tensorrt), session, probes[:1]),
        largest=largest,
    )
    return Variant(parent, half, reference.run(probes).embedding, figures)


def _reference(parent: ModelPackage, threads: int) -> Session:
    run = parent.manifest.run
    wanted = DEVICES[run.thresholds_on]
    session = Session(parent.contents.model, threads, cpu=wanted == CPU, tensorrt=run.tensorrt)
    if session.provider != wanted:
        raise ProviderError(
            f"the thresholds of {parent.ref} were computed on {wanted}, and ONNX Runtime runs on "
            f"{session.provider}: make the variant there"
        )
    return session


def _compared(parent: ModelPackage, reference: Scorer, half: Scorer, images: NDArray[np.float32]) -> Figures:
    """Return the differences; the other figures are those of nothing."""
    entries, domain = parent.manifest.findings, parent.contents.domain
    logits, probabilities, away, crossed = [], [], [0.0], 0
    for start in range(0, len(images), _BATCH):
        batch = images[start : start + _BATCH]
        try:
            one, other = reference.run(batch), half.run(batch)
        except ModelError as error:
            raise PackageRefusedError(f"{parent.ref} can't be had in half precision: {error}") from error
        fault = parity_fault(one, other, PARITY)
        if fault is None and not np.isfinite(other.feature_map).all():
            fault = "its feature map is not all finite numbers"
        for k, entry in enumerate(entries):
            before, after = (entry.calibrator.probability(by.logits[:, k]) for by in (one, other))
            probabilities += list(np.abs(before - after))
            border = entry.thresholds.operating
            crossed += int(((before >= border) != (after >= border)).sum())
        if fault is None and max(probabilities) > SCORE:
            fault = f"its probabilities differ by {max(probabilities):.2g}, at most {SCORE:g} is borne"
        if fault is not None:
            raise PackageRefusedError(
                f"{parent.ref} can't be had in half precision: on {half.provider} {fault}. Its thresholds "
                "would not hold"
            )
        logits += list(np.abs(one.logits - other.logits).ravel())
        if domain is not None:
            away += list(np.abs(domain.ratio(one.embedding) - domain.ratio(other.embedding)))
    return Figures(
        provider=half.provider,
        films=0,
        sizes=(0, 0),
        milliseconds=(0.0, 0.0),
        logit_mean=float(np.mean(logits)),
        logit_worst=float(np.max(logits)),
        probability_mean=float(np.mean(probabilities)),
        probability_worst=float(np.max(probabilities)),
        domain_worst=float(np.max(away)),
        crossed=crossed,
        largest=0.0,
    )


def _largest(model: bytes, images: NDArray[np.float32]) -> float:
    """Return the largest absolute value inside of what is converted, NaN where one is no number.

    By the CPU in float32: ONNX Runtime leaves casts to and fro out there, so that what overflows on a GPU
    need not overflow here.
    """
    inside, names = largest_values(model)
    session = onnxruntime.InferenceSession(inside, providers=[CPU])
    source, largest = session.get_inputs()[0].name, float(np.abs(images).max())
    for image in images:  # one by one: all that is inside is held at once
        values = session.run(list(names), {source: image[np.newaxis]})
        largest = float(np.max([largest, *(np.abs(value).max(initial=0.0) for value in values)]))
    return largest


def _timed(one: Scorer, other: Scorer, image: NDArray[np.float32]) -> tuple[float, float]:
    """Return the milliseconds of a run of each, turn about."""
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(_TURNS):
        for scorer, times in zip((one, other), spent, strict=True):
            started = time.perf_counter()
            scorer.run(image)
            times.append(1000.0 * (time.perf_counter() - started))
    return statistics.median(spent[0]), statistics.median(spent[1])


def _card(variant: Variant) -> str:
    figures, parent = variant.figures, variant.parent.ref
    return f"""\
# {parent.name} {variant.version}

`{parent.name} {parent.version}` (`{parent.digest}`) in half precision up to the feature map, made by
`orthanc-al models fp16`. Head, calibrator, thresholds and metrics are that package's; what its card says of
intended use, data and limits holds here, too. For GPUs: a CPU gains nothing by it.

| against the float32 network, on {figures.films} films and noise | mean | worst | borne |
|---|---|---|---|
| logit | {figures.logit_mean:.5f} | {figures.logit_worst:.5f} | {PARITY:g} |
| probability | {figures.probability_mean:.5f} | {figures.probability_worst:.5f} | {SCORE:g} |
| largest value inside | | {figures.largest:.4g} | {LARGEST:.0f} |
"""
