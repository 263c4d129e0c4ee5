"""Medians and paired intervals over seeds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

RESAMPLES: Final = 4000


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


def over_seeds(statistic: Callable[[np.ndarray], float], seeds: int) -> Estimate:
    """Return a statistic of seeds (an array of indices), with the percentiles of its bootstrap.

    Statistics that compare two strategies take both on the same seeds: that is what pairs them.
    """
    rng = np.random.default_rng(0)
    drawn = [statistic(rng.integers(seeds, size=seeds)) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, (0.025, 0.975), method="nearest")
    return Estimate(statistic(np.arange(seeds)), float(low), float(high))


def median_of(differences: np.ndarray) -> Estimate:
    """Return the median over seeds of what was measured once a seed, shape (seeds,)."""
    drawn = np.random.default_rng(0).integers(len(differences), size=(RESAMPLES, len(differences)))
    low, high = np.quantile(np.median(differences[drawn], axis=1), (0.025, 0.975))
    return Estimate(float(np.median(differences)), float(low), float(high))


def mean_of(differences: np.ndarray) -> Estimate:
    """Return the mean over seeds."""
    return over_seeds(lambda rows: float(differences[rows].mean()), len(differences))


def first_at(curves: np.ndarray, level: np.ndarray, labels: np.ndarray) -> Estimate:
    """Return after how many labels the mean curve (seeds, steps) reaches the mean level (seeds,).

    Infinite where it does not.
    """

    def of(rows: np.ndarray) -> float:
        reached = curves[rows].mean(0) >= level[rows].mean()
        return float(labels[int(np.argmax(reached))]) if reached.any() else float("inf")

    return over_seeds(of, len(curves))
