"""What a strategy is, and how one becomes a rule for a stream of studies."""

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


class Strategy(Protocol):
    """Ranks cases by how much a label of theirs is worth.

    A batch takes the best b of a pool by :meth:`score`; a stream takes what is above a threshold.
    """

    @property
    def name(self) -> str:
        """As it stands in the record of each query."""

    def score(self, probabilities: ArrayLike, uniforms: ArrayLike) -> Vector:
        """Return g, shape (n,): the higher, the sooner it is asked.

        Parameters
        ----------
        probabilities
            Calibrated probability of the finding, shape (n,).
        uniforms
            Each case's own noise, shape (n,), in (0, 1).
        """

    def chance(self, probabilities: ArrayLike, threshold: float) -> Vector:
        """Return the probability, over the noise, that a case's g is above ``threshold``, shape (n,)."""


def gumbel(uniforms: ArrayLike) -> Vector:
    """Return standard Gumbel noise from uniform noise in (0, 1)."""
    return np.asarray(-np.log(-np.log(np.asarray(uniforms, np.float64))))


def threshold_for(recent: ArrayLike, share: float) -> float:
    """Return the threshold that a ``share`` of cases like the recent ones exceeds.

    Parameters
    ----------
    recent
        g of the studies that came last, shape (n,).
    share
        Flags wanted a study, in [0, 1]. At 0 nothing is above the threshold, at 1 all.

    Returns
    -------
    float
        The quantile at 1 - ``share`` by the rule (n + 1)(1 - share), which is met exactly in
        expectation for n + 1 exchangeable cases wherever it falls between two of them; with too few
        recent ones to hold the share, +inf: it is better to ask a day later than beyond the budget.
    """
    ordered = np.sort(np.asarray(recent, np.float64))
    if share >= 1.0:
        return -np.inf
    rank = int(np.ceil((ordered.size + 1) * (1.0 - share)))
    return float(ordered[rank - 1]) if rank <= ordered.size else np.inf
