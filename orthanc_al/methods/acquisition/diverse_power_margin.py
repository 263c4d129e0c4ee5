"""Power margin with diversity: what the service asks at the day's end."""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from orthanc_al.methods.acquisition.power_margin import PowerMargin
from orthanc_al.methods.acquisition.protocol import Indices, Pool, squared_distances

CANDIDATES: Final = 5
"""Candidates for each question that is asked."""


@dataclass(frozen=True, slots=True)
class DiversePowerMargin:
    """The best 5b by power margin, then one after another the greatest u d^2.

    d is the distance to the nearest of the studies chosen so far and of those that have a label: two films
    that look alike teach little more than one. (Distances weigh as in k-means++: Arthur & Vassilvitskii,
    SODA 2007, here greedily and times the margin.)

    Attributes
    ----------
    beta
        Of the power margin.
    """

    beta: float = 4.0
    name: ClassVar[str] = "diverse_power_margin"

    def choose(self, pool: Pool, count: int) -> Indices:
        """Return the chosen rows, in the order in which they were taken."""
        candidates = PowerMargin(self.beta).choose(pool, CANDIDATES * count)
        return candidates[spread(pool.rows(candidates), count)]


def spread(pool: Pool, count: int) -> Indices:
    """Return ``count`` rows, each the one with the greatest u d^2 to those taken before and labelled ones."""
    margins = pool.margins
    nearest = np.ones(len(pool))
    if len(pool.labelled):
        nearest = squared_distances(pool.embeddings, pool.labelled).min(1)
    free = np.ones(len(pool), np.bool_)
    taken: list[int] = []
    for _ in range(min(count, len(pool))):
        worth = np.where(free, margins * nearest, -np.inf)
        row = int(np.argmax(worth))
        taken.append(row)
        free[row] = False
        away = squared_distances(pool.embeddings, pool.embeddings[row : row + 1])[:, 0]
        nearest = np.minimum(nearest, away) if len(taken) > 1 or len(pool.labelled) else away
    return np.array(taken, np.intp)
