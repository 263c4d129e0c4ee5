"""Two hospitals made of one: site A trains the factory, site B is seen through another scanner."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from orthanc_al.learn.factory.dataset import FilmSet
from tests.bench.learning.images import Images

SHARE_A: Final = (0.4, 0.5)
"""Share of patients without and with the finding whose images train the factory."""


@dataclass(frozen=True)
class Sites:
    """Rows of :class:`Images` by site; no patient is in both."""

    a: np.ndarray
    b: np.ndarray


def split(images: Images, seed: int = 0) -> Sites:
    """Split by patient; the same seed gives the same sites."""
    of_a: set[str] = set()
    for label, patients in enumerate(patients_by_class(images.films)):
        order = np.random.default_rng((seed, label)).permutation(patients)
        of_a |= set(order[: round(SHARE_A[label] * len(order))].tolist())
    in_a = np.array([patient in of_a for patient in images.films.patients], np.bool_)
    return Sites(np.flatnonzero(in_a), np.flatnonzero(~in_a))


def patients_by_class(films: FilmSet) -> tuple[list[str], list[str]]:
    """Return the patients who never have the finding, and those who have it in some study."""
    positive = {p for p, y in zip(films.patients, films.labels, strict=True) if y == 1}
    return sorted(set(films.patients) - positive), sorted(positive)


def rows_of(films: FilmSet, rows: np.ndarray) -> FilmSet:
    """Return some films, in the order of ``rows``."""
    chosen = tuple(films.patients[row] for row in rows)
    return FilmSet(films.images[rows], films.labels[rows], films.subtypes[rows], chosen)
