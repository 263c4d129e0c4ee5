"""The demo's films: chosen from the generator's by their score, and proved to be nobody's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.errors import ModelError
from orthanc_al.imaging.preprocess import preprocess
from orthanc_al.learn.factory.dataset import FilmSet
from orthanc_al.learn.factory.generator import FilmGenerator

Films = NDArray[np.uint8]
Score = Callable[[Films], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Films (n, h, w) to calibrated probability (n,) and distance from the domain (n,), above 1 outside."""

SIZE: Final = (240, 288)
"""Rows and columns of a demo film: the aspect that a chest film has before it is squashed."""

_DRAWN: Final = {0.0: 100, 0.5: 60, 1.0: 60}
_NEGATIVE, _BORDERLINE, _POSITIVE = 23, 7, 10
_COMPARED = PreprocessingSpec(size=64)


@dataclass(frozen=True, slots=True)
class CopyCheck:
    """How near the demo's films lie to films that were trained on.

    Distances are root mean squares between 64 x 64 model inputs, whose standard deviation is 1.

    Attributes
    ----------
    nearest
        Of each demo film to the nearest training film, shape (m,).
    between_patients
        Of training films to the nearest film of another patient, shape (n,).
    """

    nearest: NDArray[np.float64]
    between_patients: NDArray[np.float64]

    @property
    def passed(self) -> bool:
        """Whether no demo film is nearer to a training film than all but a twentieth of other patients'."""
        return bool(self.nearest.min() >= self.floor)

    @property
    def floor(self) -> float:
        """The distance below which a film counts as a copy."""
        return float(np.quantile(self.between_patients, 0.05))


def demo_films(
    generator: FilmGenerator, training: FilmSet, score: Score, high: float, seed: int
) -> tuple[Films, CopyCheck]:
    """Return 40 films of nobody and two that are no chest films, in random order, and their check.

    About one in four is meant to be ranked high, some are borderline, the others are not suspicious.

    Parameters
    ----------
    training
        The films that the generator was fitted on.
    score
        The model.
    high
        Calibrated probability above which a study is ranked high.

    Raises
    ------
    ModelError
        Too few of the films that were drawn are in the model's domain and farther from every training
        film than a copy would be.
    """
    rng = np.random.default_rng((seed, 2))
    drawn = np.stack([generator.sample(t, SIZE, rng) for t, count in _DRAWN.items() for _ in range(count)])
    check = copy_check(drawn, training, rng)
    probability, outside = score(drawn)
    usable = (outside < 0.9) & (check.nearest >= check.floor)
    wanted = _NEGATIVE + _BORDERLINE + _POSITIVE
    if usable.sum() < wanted:
        raise ModelError(
            f"only {usable.sum()} of {len(drawn)} films are in the model's domain and nobody's, {wanted} are "
            "wanted: train on more films"
        )
    chosen = _spread(np.where(usable, probability, np.nan), high)
    foreign = np.stack([_phantom(), 255 - drawn[chosen[0]]])
    order = rng.permutation(len(chosen) + len(foreign))
    films = np.concatenate([drawn[chosen], foreign])[order]
    return films, CopyCheck(check.nearest[chosen], check.between_patients)


def copy_check(films: Films, training: FilmSet, rng: np.random.Generator, sample: int = 400) -> CopyCheck:
    """Compare films (m, h, w) with the training films, and ``sample`` of those with one another."""
    known = _flat(training.images)
    patients = np.array(training.patients)
    rows = rng.choice(len(known), min(sample, len(known)), replace=False)
    between = _distances(known[rows], known)
    between[patients[rows][:, np.newaxis] == patients] = np.inf
    return CopyCheck(_distances(_flat(films), known).min(1), between.min(1))


def _spread(probability: NDArray[np.float64], high: float) -> NDArray[np.intp]:
    """Return rows: clear negatives, borderline ones and positives, each evenly over their range."""
    borders = (0.0, 0.15 * high, high, 1.0 + 1e-9)
    counts = (_NEGATIVE, _BORDERLINE, _POSITIVE)
    chosen = []
    for low, top, count in zip(borders[:-1], borders[1:], counts, strict=True):
        rows = np.flatnonzero((probability >= low) & (probability < top))
        ranked = rows[np.argsort(probability[rows], kind="stable")]
        places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
        chosen.append(ranked[places])
    return np.concatenate(chosen)


def _flat(films: Films) -> NDArray[np.float64]:
    return np.stack([preprocess(film, _COMPARED).ravel() for film in films]).astype(np.float64)


def _distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return root mean square distances between rows, shape (len(a), len(b))."""
    squared = (a**2).sum(1)[:, np.newaxis] + (b**2).sum(1) - 2.0 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squared, 0.0) / a.shape[1]))


def _phantom() -> NDArray[np.uint8]:
    """Return a test image: a step wedge over line pairs of growing frequency, and a ring."""
    height, width = SIZE
    x = np.linspace(0.0, 1.0, width)
    wedge = np.floor(x * 11.0) / 10.0 * 255.0
    lines = 127.5 + 110.0 * np.sign(np.sin(2.0 * np.pi * 40.0 * x**2))
    image = np.where(np.arange(height)[:, np.newaxis] < height // 2, wedge, lines)
    image = np.ascontiguousarray(np.clip(image, 0.0, 255.0).astype(np.uint8))
    cv2.circle(image, (width // 2, height // 2), height // 3, 200, 6)
    return image
