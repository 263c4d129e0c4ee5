"""Out of distribution: how far an embedding lies from those that the model was trained on.

Mahalanobis distance (Lee et al., A simple unified framework for detecting out-of-distribution samples,
NeurIPS 2018) with the covariance of Ledoit and Wolf (A well-conditioned estimator for
large-dimensional covariance matrices, Journal of Multivariate Analysis 88:365, 2004), fitted twice: the
farthest of the first fit are left out of the second, since a data set's own junk widens it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LEAST_SPREAD = 1e-3
"""Least standard deviation of a feature, as a share of the features' root mean square: one that is
dead in training gets this one, so that a rounding error is no distance."""


@dataclass(frozen=True, slots=True)
class Domain:
    """Where the training embeddings lie, and the distance at which the domain ends.

    Attributes
    ----------
    mean
        float32, shape (d,).
    precision
        Inverse covariance, float32, shape (d, d).
    limit
        Mahalanobis distance above which an image is outside.
    """

    mean: NDArray[np.float32]
    precision: NDArray[np.float32]
    limit: float

    def ratio(self, embeddings: ArrayLike) -> NDArray[np.float64]:
        """Return distance / limit of embeddings (n, d), shape (n,); above 1 is outside.

        An embedding that is not finite is infinitely far away.
        """
        away = np.asarray(embeddings, np.float64) - self.mean
        squared = ((away @ self.precision.astype(np.float64)) * away).sum(1)
        distance = np.sqrt(np.maximum(squared, 0.0))
        return np.where(np.isfinite(distance), distance, np.inf) / self.limit


def fit_domain(
    embeddings: ArrayLike, unseen: ArrayLike, *, trim: float = 0.02, quantile: float = 0.99
) -> Domain:
    """Return the domain of the training embeddings, its limit set on embeddings of unseen patients.

    Parameters
    ----------
    embeddings
        Shape (n, d), n at least 2.
    unseen
        Shape (m, d): of images that the network was not trained on, since those that it was trained on
        lie closer.
    trim
        Share of the farthest that is left out of the second fit.
    quantile
        Share of the unseen that shall lie inside.
    """
    rows = np.asarray(embeddings, np.float64)
    first = _fit(rows)
    distance = first.ratio(rows)
    kept = _fit(rows[distance <= np.quantile(distance, 1.0 - trim)])
    limit = float(np.quantile(kept.ratio(unseen), quantile))
    return Domain(kept.mean, kept.precision, limit)


def ledoit_wolf(rows: ArrayLike) -> tuple[NDArray[np.float64], float]:
    """Return the covariance of rows (n, d) shrunk towards a multiple of the identity, and the shrinkage.

    Returns
    -------
    tuple[NDArray[np.float64], float]
        Covariance of shape (d, d), and the share in [0, 1] of the identity's multiple.
    """
    centred = np.asarray(rows, np.float64)
    centred = centred - centred.mean(0)
    n, d = centred.shape
    sample = centred.T @ centred / n
    scale = np.trace(sample) / d
    dispersion = ((sample - scale * np.eye(d)) ** 2).sum()
    error = ((centred**2).sum(1) ** 2).sum() / n**2 - (sample**2).sum() / n
    share = float(min(max(error, 0.0), dispersion) / dispersion) if dispersion > 0 else 0.0
    return (1.0 - share) * sample + share * scale * np.eye(d), share


def _fit(rows: NDArray[np.float64]) -> Domain:
    """Return the domain with limit 1; shrinkage is done on standardised features, which differ in scale."""
    mean, spread = rows.mean(0), rows.std(0)
    spread = np.maximum(spread, _LEAST_SPREAD * np.sqrt((rows**2).mean()))
    covariance, _ = ledoit_wolf((rows - mean) / spread)
    precision = np.linalg.inv(covariance) / np.outer(spread, spread)
    return Domain(mean.astype(np.float32), precision.astype(np.float32), 1.0)
