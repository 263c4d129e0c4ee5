"""Area under the ROC curve, and the variance of paired ones.

DeLong, DeLong & Clarke-Pearson, Biometrics 44:837, 1988, by the midranks of Sun & Xu, Fast implementation
of DeLong's algorithm, IEEE Signal Processing Letters 21:1389, 2014: O(n log n) for n cases.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AucDifference:
    """AUC of two models on the same cases.

    Attributes
    ----------
    new, old
        The two areas.
    standard_error
        Of new - old.
    lower, upper
        One-sided bounds of new - old, each at ``level``.
    level
        Confidence of each bound, e.g. 0.95.
    """

    new: float
    old: float
    standard_error: float
    lower: float
    upper: float
    level: float

    @property
    def difference(self) -> float:
        """New - old."""
        return self.new - self.old


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the area under the ROC curve: P(score of a positive > of a negative) + half of the ties.

    Parameters
    ----------
    scores, labels
        Shape (n,); labels are 0 or 1.

    Raises
    ------
    ValueError
        One of the classes is missing.
    """
    positive, negative = _by_class(np.atleast_2d(np.asarray(scores, np.float64)), labels)
    ranks = rankdata(np.concatenate([positive[0], negative[0]]))
    m, n = positive.shape[1], negative.shape[1]
    return float((ranks[:m].sum() - m * (m + 1) / 2.0) / (m * n))


def delong_covariance(scores: ArrayLike, labels: ArrayLike) -> tuple[Vector, Matrix]:
    """Return the AUCs of k models on the same cases and their covariance.

    Parameters
    ----------
    scores
        Shape (k, n).
    labels
        0 or 1, shape (n,); at least two of each.

    Returns
    -------
    tuple[Vector, Matrix]
        Shapes (k,) and (k, k).

    Raises
    ------
    ValueError
        There are fewer than two of a class.
    """
    positive, negative = _by_class(np.asarray(scores, np.float64), labels)
    m, n = positive.shape[1], negative.shape[1]
    if m < 2 or n < 2:
        raise ValueError(f"a variance takes two cases of each class; there are {m} positive and {n} negative")
    pooled = rankdata(np.concatenate([positive, negative], axis=1), axis=1)
    v10 = (pooled[:, :m] - rankdata(positive, axis=1)) / n  # per positive: share of negatives below
    v01 = 1.0 - (pooled[:, m:] - rankdata(negative, axis=1)) / m  # per negative: share of positives above
    covariance = np.atleast_2d(np.cov(v10)) / m + np.atleast_2d(np.cov(v01)) / n
    return v10.mean(axis=1), covariance


def compare(new: ArrayLike, old: ArrayLike, labels: ArrayLike, level: float = 0.95) -> AucDifference:
    """Return the paired comparison of two models' scores on the same cases.

    Parameters
    ----------
    new, old, labels
        Shape (n,).
    level
        Confidence of each one-sided bound.

    Raises
    ------
    ValueError
        There are fewer than two of a class.
    """
    areas, covariance = delong_covariance(np.stack([np.asarray(new), np.asarray(old)]), labels)
    contrast = np.array([1.0, -1.0])
    error = float(np.sqrt(max(0.0, contrast @ covariance @ contrast)))
    difference = float(areas[0] - areas[1])
    reach = float(norm.ppf(level)) * error
    return AucDifference(
        float(areas[0]), float(areas[1]), error, difference - reach, difference + reach, level
    )


def auc_interval(scores: ArrayLike, labels: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Return an AUC and its two-sided interval at ``level``, clipped to [0, 1].

    Raises
    ------
    ValueError
        There are fewer than two of a class.
    """
    areas, covariance = delong_covariance(np.atleast_2d(np.asarray(scores, np.float64)), labels)
    reach = float(norm.ppf(0.5 + level / 2.0) * np.sqrt(covariance[0, 0]))
    area = float(areas[0])
    return area, max(0.0, area - reach), min(1.0, area + reach)


def expected_error(area: float, positives: int, negatives: int) -> float:
    """Return the standard error that an AUC has on so many cases.

    Hanley & McNeil, The meaning and use of the area under a ROC curve, Radiology 143:29, 1982, with
    exponentially distributed scores. It needs no scores, so a margin can be set before any is seen.

    Parameters
    ----------
    area
        The AUC, in (0, 1).
    positives, negatives
        At least one each.
    """
    q1, q2 = area / (2.0 - area), 2.0 * area**2 / (1.0 + area)
    spread = area * (1.0 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    return float(np.sqrt(spread / (positives * negatives)))


def _by_class(scores: Matrix, labels: ArrayLike) -> tuple[Matrix, Matrix]:
    y = np.asarray(labels)
    if scores.ndim != 2 or y.shape != scores.shape[1:]:
        raise ValueError(f"scores of shape {scores.shape} and labels of shape {y.shape}")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("labels are 0 or 1")
    positive, negative = scores[:, y == 1], scores[:, y == 0]
    if not positive.size or not negative.size:
        raise ValueError("an AUC takes positive and negative cases")
    return positive, negative
