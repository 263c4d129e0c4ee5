"""How far two models say the same of the same studies: figures of a candidate in shadow."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata


@dataclass(frozen=True, slots=True)
class Agreement:
    """What two models say of ``studies`` studies.

    Attributes
    ----------
    same_side
        Share that both flag or both don't; 1 where there is no study.
    kappa
        The same beyond chance (Cohen, Educational and Psychological Measurement 20:37, 1960); None where
        chance alone explains all of it.
    rank_correlation
        Of the logits (Spearman); None where one of the models says the same of all.
    flagged, other_flagged
        Share that each flags.
    """

    studies: int
    same_side: float
    kappa: float | None
    rank_correlation: float | None
    flagged: float
    other_flagged: float


def agreement(
    logits: ArrayLike, other_logits: ArrayLike, flagged: ArrayLike, other_flagged: ArrayLike
) -> Agreement:
    """Return how far two models agree; all arrays have the shape (n,), n may be 0."""
    x, y = np.asarray(logits, np.float64), np.asarray(other_logits, np.float64)
    a, b = np.asarray(flagged, np.bool_), np.asarray(other_flagged, np.bool_)
    if x.size == 0:
        return Agreement(0, 1.0, None, None, 0.0, 0.0)
    same = float((a == b).mean())
    share, other = float(a.mean()), float(b.mean())
    chance = share * other + (1.0 - share) * (1.0 - other)
    return Agreement(
        studies=int(x.size),
        same_side=same,
        kappa=None if chance >= 1.0 else (same - chance) / (1.0 - chance),
        rank_correlation=_rank_correlation(x, y),
        flagged=share,
        other_flagged=other,
    )


def _rank_correlation(x: ArrayLike, y: ArrayLike) -> float | None:
    ranks = rankdata(x), rankdata(y)
    if any(np.ptp(rank) == 0.0 for rank in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])
