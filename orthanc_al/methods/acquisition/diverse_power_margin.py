"""Power margin with diversity: what the service asks at the day's end."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from orthanc_al.methods.acquisition.power_margin import PowerMargin
from orthanc_al.methods.acquisition.protocol import Indices, Matrix, Pool, Vector, squared_distances

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


def spread(
    pool: Pool,
    count: int,
    groups: Sequence[Hashable] = (),
    most: int | None = None,
    taken: Sequence[int] = (),
) -> Indices:
    """Return ``count`` rows, each the one with the greatest u d^2 to those taken before and labelled ones.

    Parameters
    ----------
    groups
        Of each row: its scanner, its site. Empty where that does not matter.
    most
        How many of one group are taken; None for no limit. Where only full groups have rows left, they are
        taken all the same: a cap spreads the budget, it does not leave it unspent.
    taken
        Rows that were chosen for another reason already; they are neither returned nor near to anything
        that is.
    """
    margins, full = pool.margins, Counter[Hashable]()
    free = np.ones(len(pool), np.bool_)
    free[list(taken)] = False
    nearest = _nearest(pool, np.concatenate([pool.labelled, pool.embeddings[list(taken)]]))
    order: list[int] = []
    while len(order) < count and free.any():
        allowed = free & _below_the_cap(groups, full, most, len(pool))
        near = np.ones(len(pool)) if nearest is None else nearest
        row = int(np.argmax(np.where(allowed if allowed.any() else free, margins * near, -np.inf)))
        order.append(row)
        free[row] = False
        full.update([groups[row]] if groups else [])
        away = squared_distances(pool.embeddings, pool.embeddings[row : row + 1])[:, 0]
        nearest = away if nearest is None else np.minimum(nearest, away)
    return np.array(order, np.intp)


def _nearest(pool: Pool, known: Matrix) -> Vector | None:
    """Return d^2 of each row to the nearest of the known ones, None where none is known."""
    return squared_distances(pool.embeddings, known).min(1) if len(known) else None


def _below_the_cap(
    groups: Sequence[Hashable], full: Counter[Hashable], most: int | None, count: int
) -> NDArray[np.bool_]:
    """Return which rows are of a group that has not had its share."""
    if most is None or not groups:
        return np.ones(count, np.bool_)
    return np.array([full[group] < most for group in groups], np.bool_)
