"""Thresholds with a guarantee: at most a share alpha of positive studies is ranked low, surely enough.

Let the audited positives' scores be s(1) <= ... <= s(n), drawn independently of the score. The share of all
positives below the (k + 1)-th of them is at most Beta(k + 1, n - k) distributed (exactly so without ties),
whatever the distribution of the scores. With

    k* = max{k : BetaInv(1 - delta; k + 1, n - k) <= alpha},    tau_low = s(k* + 1),

a study is low where its score is below tau_low, and the share of positives so missed exceeds alpha with
probability at most delta (Clopper & Pearson, Biometrika 26:404, 1934; Angelopoulos et al., Conformal
triage for medical imaging AI deployment, 2024). Too few positives have no such k, and so no low tier.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold and the labels behind it.

    Attributes
    ----------
    value
        On the scale of the scores that it was made from.
    labels
        How many audited studies of the class that it protects.
    errors_allowed
        k*: how many of them it puts on the wrong side.
    """

    value: float
    labels: int
    errors_allowed: int


def errors_allowed(labels: int, alpha: float, delta: float) -> int | None:
    """Return k*, the most errors among ``labels`` that still bound the rate by ``alpha``.

    Parameters
    ----------
    labels
        Number n of audited studies of the class.
    alpha
        Rate of errors that must not be exceeded, in (0, 1).
    delta
        Probability with which it may be exceeded all the same, in (0, 1).

    Returns
    -------
    int or None
        None where not even zero errors bound the rate: too few labels.

    Raises
    ------
    ValueError
        A rate is not strictly between 0 and 1.
    """
    if not (0.0 < alpha < 1.0 and 0.0 < delta < 1.0):
        raise ValueError(f"alpha and delta are between 0 and 1, not {alpha} and {delta}")
    if labels < 1:
        return None
    k = np.arange(labels)
    bounds = beta.ppf(1.0 - delta, k + 1, labels - k)  # grows with k
    held = int(np.searchsorted(bounds, alpha, side="right"))
    return held - 1 if held > 0 else None


def positives_needed(alpha: float, delta: float) -> int:
    """Return how many labels of a class it takes until a threshold can be had at all.

    With no error allowed the bound is 1 - delta^(1/n) <= alpha: 45 for alpha .05 and delta .1.
    """
    needed = max(1, math.ceil(math.log(delta) / math.log1p(-alpha)) - 1)
    while errors_allowed(needed, alpha, delta) is None:
        needed += 1
    return needed


def low_threshold(positive_scores: ArrayLike, alpha: float, delta: float) -> Threshold | None:
    """Return tau_low: a study whose score is **below** it may be ranked low.

    Parameters
    ----------
    positive_scores
        Scores of the audited positive studies, shape (n,). A positive that can't be ranked low whatever
        its score (out of the model's domain) has the score +inf.
    alpha, delta
        At most a share ``alpha`` of positives is ranked low, with probability at least 1 - ``delta``.

    Returns
    -------
    Threshold or None
        None where the labels don't support one. Tied scores are on the safe side: with s < tau no more than
        k* of the audited positives are below it.

    Raises
    ------
    ValueError
        A score is not a number, or ``alpha`` or ``delta`` is not between 0 and 1.
    """
    scores = np.sort(np.asarray(positive_scores, np.float64).ravel())
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    allowed = errors_allowed(scores.size, alpha, delta)
    if allowed is None or not math.isfinite(scores[allowed]):
        return None
    return Threshold(float(scores[allowed]), int(scores.size), allowed)


def high_threshold(negative_scores: ArrayLike, alpha: float, delta: float) -> Threshold | None:
    """Return tau_high: a study whose score is **above** it may be ranked high.

    The mirror image of :func:`low_threshold`: at most a share ``alpha`` of the negative studies is ranked
    high, with probability at least 1 - ``delta``. A negative that can't be ranked high has -inf.
    """
    mirrored = low_threshold(-np.asarray(negative_scores, np.float64), alpha, delta)
    return None if mirrored is None else Threshold(-mirrored.value, mirrored.labels, mirrored.errors_allowed)
