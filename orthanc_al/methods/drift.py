"""Whether today's studies are those that the model was made for: distances of samples, and what chance gives.

Energy distance: Szekely & Rizzo, Journal of Statistical Planning and Inference 143:1249, 2013. PSI and what
it is by chance alone: Yurdakul & Naranjo, Journal of Risk Model Validation 14:89, 2020. The two-sample
Kolmogorov-Smirnov and chi-square tests are SciPy's.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist
from scipy.stats import chi2, chi2_contingency, ks_2samp

Vector = NDArray[np.float64]

PSI_BINS: Final = 10
PERMUTATIONS: Final = 999
_MOST_ROWS: Final = 200
"""Rows of a sample that the energy distance looks at; more are thinned evenly."""

_PERMUTATION_SEED: Final = 20131


@dataclass(frozen=True, slots=True)
class Distance:
    """How far apart two samples are.

    Attributes
    ----------
    value
        Of the statistic; 0 is alike.
    p_value
        Probability of such a value or a greater one if both samples are of one population.
    """

    value: float
    p_value: float


def kolmogorov_smirnov(reference: ArrayLike, today: ArrayLike) -> Distance:
    """Return the largest gap between the distributions of two samples, shapes (n,) and (m,).

    Raises
    ------
    ValueError
        A sample is empty.
    """
    old, new = np.asarray(reference, np.float64).ravel(), np.asarray(today, np.float64).ravel()
    if not old.size or not new.size:
        raise ValueError("a distribution needs a value at least")
    found = ks_2samp(old, new)
    return Distance(float(found.statistic), float(found.pvalue))


def psi(reference: ArrayLike, today: ArrayLike, bins: int = PSI_BINS) -> Distance:
    """Return the population stability index of today's values against the reference's.

    The bins are quantiles of the reference. With n and m values an index of about (1/n + 1/m) (bins - 1) is
    chance, which the usual limits of .1 and .25 forget; the p-value is of the chi-square that it follows.

    Parameters
    ----------
    reference, today
        Shapes (n,) and (m,), not empty.
    bins
        At least 2; fewer are used where values are tied.

    Raises
    ------
    ValueError
        A sample is empty.
    """
    old, new = np.asarray(reference, np.float64).ravel(), np.asarray(today, np.float64).ravel()
    if not old.size or not new.size:
        raise ValueError("a population needs a value at least")
    edges = np.unique(np.quantile(old, np.linspace(0.0, 1.0, bins + 1)[1:-1]))
    count = edges.size + 1
    # Half a case more in each bin: an empty one would make the index endless.
    expected, found = (
        (np.bincount(np.searchsorted(edges, values, side="right"), minlength=count) + 0.5)
        / (values.size + 0.5 * count)
        for values in (old, new)
    )
    index = float(((found - expected) * np.log(found / expected)).sum())
    scaled = index / (1.0 / old.size + 1.0 / new.size)
    return Distance(index, float(chi2.sf(scaled, count - 1)))


def energy(reference: ArrayLike, today: ArrayLike, permutations: int = PERMUTATIONS) -> Distance:
    """Return the energy distance of two clouds of points, 2 E|X - Y| - E|X - X'| - E|Y - Y'|.

    It sees any difference of the distributions, in all directions at once. Features are scaled by their
    standard deviation over both samples: by one's alone, the other would lie farther out by chance. The
    p-value is by permutation, so that it holds whatever the distribution; it is at least
    1 / (permutations + 1).

    Parameters
    ----------
    reference, today
        Shapes (n, d) and (m, d); of more than 200 rows, 200 are taken evenly.

    Raises
    ------
    ValueError
        A sample has fewer than 2 points, or the dimensions differ.
    """
    x, y = np.asarray(reference, np.float64), np.asarray(today, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"two clouds of two points of one dimension at least, not {x.shape} and {y.shape}")
    x, y = _thinned(x), _thinned(y)
    both = np.concatenate([x, y])
    spread = both.std(0)
    both = both / np.where(spread > 0.0, spread, 1.0)
    apart = cdist(both, both)
    is_today = np.zeros((permutations + 1, len(both)))
    random = np.random.default_rng(_PERMUTATION_SEED)
    is_today[0, len(x) :] = 1.0
    is_today[1:] = random.permuted(np.tile(is_today[0], (permutations, 1)), axis=1)
    values = _energies(apart, is_today, len(x), len(y))
    as_far = (values >= values[0] * (1.0 - 1e-12)).sum()
    return Distance(float(values[0]), float(as_far / (permutations + 1)))


def mix(reference: ArrayLike, today: ArrayLike) -> Distance:
    """Return Cramer's V between two counts of categories, shape (k,), by the chi-square test.

    A category that is in neither does not count; with one category alone nothing can differ.
    """
    table = np.array([np.asarray(reference, np.float64), np.asarray(today, np.float64)])
    table = table[:, table.sum(0) > 0.0]
    if table.shape[1] < 2 or (table.sum(1) == 0.0).any():
        return Distance(0.0, 1.0)
    found = chi2_contingency(table, correction=False)
    return Distance(float(np.sqrt(found.statistic / table.sum())), float(found.pvalue))


def _energies(apart: Vector, is_today: Vector, n: int, m: int) -> Vector:
    """Return the distance for each division into n and m points, shape (divisions,)."""
    within_today = ((is_today @ apart) * is_today).sum(1)
    of_today = is_today @ apart.sum(1)  # from today's points to all
    between = of_today - within_today
    within_reference = apart.sum() - 2.0 * between - within_today
    return np.asarray(2.0 * between / (n * m) - within_today / m**2 - within_reference / n**2)


def _thinned(rows: Vector) -> Vector:
    if len(rows) <= _MOST_ROWS:
        return rows
    return rows[np.linspace(0, len(rows) - 1, _MOST_ROWS).astype(np.int64)]
