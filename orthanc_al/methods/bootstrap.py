"""Bootstrap over patients: two studies of one person are not two independent cases.

Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 8: what is resampled is the unit that
was drawn.
"""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Indices = NDArray[np.intp]


def by_patient(
    statistic: Callable[[Indices], float],
    patients: Sequence[Hashable],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Vector:
    """Return the statistic on resamples of whole patients, sorted.

    A paired comparison is a statistic that compares two models on the same indices.

    Parameters
    ----------
    statistic
        Takes indices of cases, shape (m,), some of them several times; NaN where it is not defined on
        them (no positive among them), and such resamples are left out.
    patients
        Whose each case is, length n.
    resamples
        How many.
    seed
        The same seed gives the same resamples.

    Returns
    -------
    Vector
        At most ``resamples`` values, in ascending order.
    """
    rows: dict[Hashable, list[int]] = {}
    for index, patient in enumerate(patients):
        rows.setdefault(patient, []).append(index)
    groups = [np.array(indices, np.intp) for indices in rows.values()]
    if not groups:
        return np.empty(0)
    generator = np.random.default_rng(seed)
    values = np.array(
        [
            statistic(np.concatenate([groups[i] for i in generator.integers(len(groups), size=len(groups))]))
            for _ in range(resamples)
        ]
    )
    return np.sort(values[~np.isnan(values)])
