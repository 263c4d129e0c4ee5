"""The head: logistic regression on frozen embeddings, with a prior about the factory's head.

Each night all confirmed reads are fitted anew, which is convex and so has one answer. The prior is
N(c w0, I / precision) with w0 the factory's head. How far a site is to be trusted against the
factory is not known beforehand, so the fits over a grid of centres c and precisions are averaged with
their evidence (MacKay, The evidence framework applied to classification networks, Neural Computation
4:720, 1992). Evidence is Laplace's approximation (Bishop, Pattern Recognition and Machine Learning,
2006, section 4.4): with f the log posterior at its mode and A the negative Hessian there,
ln Z = f + (D/2) ln 2 pi - 1/2 ln det A, the prior's own normalisation being part of f.

The bias has a prior of its own and weak one, N(c b0, 1 / 0.01), whatever the precision of the weights:
prevalence differs from site to site and must be free to move, but an improper prior has no evidence
to compare.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import blas, lapack
from scipy.special import expit

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

CENTRES: Final = (0.0, 0.5, 1.0)
"""Multiples of the factory's head about which the prior is centred."""

PRECISIONS: Final = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Precisions of the weights' prior, in units of the embeddings as they are."""

BIAS_PRECISION: Final = 0.01
"""Precision of the bias's prior: standard deviation 10 on the logit scale."""

_TOLERANCE: Final = 1e-9
"""Newton's decrement, per unit of weight, at which the mode is found."""


@dataclass(frozen=True, slots=True)
class Head:
    """A linear head and what is not known about it.

    Attributes
    ----------
    weight
        float64, shape (d,).
    bias
        On the logit scale.
    covariance
        Posterior covariance of (weight, bias), float64, shape (d + 1, d + 1).
    """

    weight: Vector
    bias: float
    covariance: Matrix

    def logits(self, embeddings: ArrayLike) -> Vector:
        """Return the logits of embeddings (n, d), shape (n,): the MAP, by which cases are ranked."""
        return np.asarray(embeddings, np.float64) @ self.weight + self.bias

    def variances(self, embeddings: ArrayLike) -> Vector:
        """Return the posterior variance of the logits of embeddings (n, d), shape (n,)."""
        design = _design(embeddings)
        return np.asarray(((design @ self.covariance) * design).sum(1))


@dataclass(frozen=True, slots=True)
class LaplaceFit:
    """Posterior about its mode under one prior.

    Attributes
    ----------
    mode
        (weight, bias), float64, shape (d + 1,).
    covariance
        float64, shape (d + 1, d + 1).
    log_evidence
        Natural logarithm of the probability of the labels under this prior.
    """

    mode: Vector
    covariance: Matrix
    log_evidence: float


def fit_head(
    embeddings: ArrayLike,
    labels: ArrayLike,
    prior_weight: ArrayLike,
    prior_bias: float = 0.0,
    *,
    sample_weight: ArrayLike | None = None,
    centres: tuple[float, ...] = CENTRES,
    precisions: tuple[float, ...] = PRECISIONS,
) -> Head:
    """Return the head averaged over centres and precisions by evidence.

    Parameters
    ----------
    embeddings
        Shape (n, d); n may be 0, which gives the prior back.
    labels
        Shape (n,): 0 or 1.
    prior_weight, prior_bias
        The factory's head: shape (d,), and a number. Zeros where there is none.
    sample_weight
        Shape (n,), 1 by default: how many cases a row stands for.
    centres, precisions
        The grid.

    Returns
    -------
    Head
        Mean of the fits; the covariance has the spread between them, too (moments of a mixture).

    Raises
    ------
    ValueError
        Shapes don't agree, a label is not 0 or 1, or a weight is negative.
    """
    problem = _Problem.checked(embeddings, labels, sample_weight)
    centre = np.append(np.asarray(prior_weight, np.float64), prior_bias)
    if centre.shape != (problem.design.shape[1],):
        raise ValueError(
            f"the prior has {centre.size - 1} weights, the embeddings have {problem.design.shape[1] - 1}"
        )
    fits: list[LaplaceFit] = []
    for precision in sorted(precisions, reverse=True):
        for c in centres:
            start = fits[-1].mode if fits else c * centre
            fits.append(_fit(problem, c * centre, precision, start))
    return _average(fits)


def fit_laplace(
    embeddings: ArrayLike,
    labels: ArrayLike,
    prior_mean: ArrayLike,
    precision: float,
    *,
    sample_weight: ArrayLike | None = None,
) -> LaplaceFit:
    """Return mode, covariance and evidence under one prior, by Newton's method (IRLS).

    Parameters
    ----------
    prior_mean
        (weight, bias), shape (d + 1,).
    precision
        Of the weights' prior.
    embeddings, labels, sample_weight
        As for :func:`fit_head`.
    """
    problem = _Problem.checked(embeddings, labels, sample_weight)
    mean = np.asarray(prior_mean, np.float64)
    return _fit(problem, mean, precision, mean)


def moderated_probability(logits: ArrayLike, variances: ArrayLike) -> Vector:
    """Return the probability that takes the head's uncertainty in: sigma(m / sqrt(1 + pi v / 8)).

    MacKay (1992). It is for calibration and for the uncertainty shown; it re-orders cases, so
    ranking is by the logit alone.

    Parameters
    ----------
    logits, variances
        Shape (n,).
    """
    scale = np.sqrt(1.0 + np.pi / 8.0 * np.asarray(variances, np.float64))
    return np.asarray(expit(np.asarray(logits, np.float64) / scale))


@dataclass(frozen=True, slots=True)
class _Problem:
    """Design matrix (n, d + 1) with a column of ones, labels (n,) and weights (n,)."""

    design: Matrix
    labels: Vector
    weights: Vector

    @classmethod
    def checked(cls, embeddings: ArrayLike, labels: ArrayLike, sample_weight: ArrayLike | None) -> "_Problem":
        design, y = _design(embeddings), np.asarray(labels, np.float64)
        weights = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        if y.shape != (len(design),) or weights.shape != y.shape:
            raise ValueError(
                f"{len(design)} embeddings, labels of shape {y.shape}, weights of {weights.shape}"
            )
        if not np.isin(y, (0.0, 1.0)).all():
            raise ValueError("labels are 0 or 1")
        if (weights < 0).any():
            raise ValueError("sample weights are not negative")
        return cls(design, y, weights)

    def log_likelihood(self, logits: Vector) -> float:
        return float(self.weights @ (self.labels * logits - np.logaddexp(0.0, logits)))

    def gradient(self, logits: Vector) -> Vector:
        return np.asarray((self.weights * (self.labels - expit(logits))) @ self.design)

    def curvature(self, logits: Vector) -> Matrix:
        """Return the upper triangle of sum_i w_i p_i (1 - p_i) phi_i phi_i'."""
        p = expit(logits)
        scaled = self.design * np.sqrt(self.weights * p * (1.0 - p))[:, np.newaxis]
        return np.asarray(blas.dsyrk(1.0, scaled.T))


def _design(embeddings: ArrayLike) -> Matrix:
    matrix = np.asarray(embeddings, np.float64)
    if matrix.ndim != 2:
        raise ValueError(f"embeddings have shape (n, d), not {matrix.shape}")
    return np.column_stack([matrix, np.ones(len(matrix))])


def _fit(problem: _Problem, mean: Vector, precision: float, start: Vector) -> LaplaceFit:
    """Newton's method with halved steps; the posterior is strictly concave, so it arrives."""
    penalty = np.append(np.full(mean.size - 1, precision), BIAS_PRECISION)
    mode, logits = start.copy(), problem.design @ start
    value = _log_posterior(problem, logits, mode, mean, penalty)
    enough = _TOLERANCE * (1.0 + problem.weights.sum())
    improved = True  # False where rounding leaves nothing to gain
    while True:
        gradient = problem.gradient(logits) - penalty * (mode - mean)
        factor = _cholesky(problem.curvature(logits), penalty)
        step = np.asarray(lapack.dpotrs(factor, gradient)[0])
        if gradient @ step <= enough or not improved:
            break
        before = value
        mode, logits, value = _line_search(problem, mode, logits, value, step, mean, penalty)
        improved = value > before
    return _laplace(mode, value, factor, penalty)


def _line_search(
    problem: _Problem, mode: Vector, logits: Vector, value: float, step: Vector, mean: Vector, penalty: Vector
) -> tuple[Vector, Vector, float]:
    """Return the point, its logits and its value for the longest of 1, 1/2, 1/4, ... that improves."""
    along = problem.design @ step
    size = 1.0
    while True:
        moved, moved_logits = mode + size * step, logits + size * along
        moved_value = _log_posterior(problem, moved_logits, moved, mean, penalty)
        if moved_value >= value or size < 1e-6:
            return moved, moved_logits, moved_value
        size /= 2.0


def _log_posterior(problem: _Problem, logits: Vector, mode: Vector, mean: Vector, penalty: Vector) -> float:
    """Return log likelihood plus log prior density, the prior's normalisation included."""
    quadratic = 0.5 * float(penalty @ (mode - mean) ** 2)
    normalisation = 0.5 * float(np.log(penalty / (2.0 * np.pi)).sum())
    return problem.log_likelihood(logits) - quadratic + normalisation


def _cholesky(curvature: Matrix, penalty: Vector) -> Matrix:
    """Return the upper factor of the negative Hessian; positive definite, since each penalty is positive."""
    curvature[np.diag_indices_from(curvature)] += penalty
    factor, _ = lapack.dpotrf(curvature)
    return np.asarray(factor)


def _laplace(mode: Vector, value: float, factor: Matrix, penalty: Vector) -> LaplaceFit:
    half_log_determinant = float(np.log(np.diag(factor)).sum())
    upper = np.asarray(lapack.dpotri(factor)[0])
    covariance = np.triu(upper) + np.triu(upper, 1).T
    evidence = value + 0.5 * penalty.size * np.log(2.0 * np.pi) - half_log_determinant
    return LaplaceFit(mode, covariance, float(evidence))


def _average(fits: list[LaplaceFit]) -> Head:
    """Return the moments of the mixture of the fits, weighted by evidence."""
    evidence = np.array([fit.log_evidence for fit in fits])
    shares = np.exp(evidence - evidence.max())
    shares /= shares.sum()
    mean = np.asarray(sum(share * fit.mode for share, fit in zip(shares, fits, strict=True)))
    covariance = np.zeros_like(fits[0].covariance)
    for share, fit in zip(shares, fits, strict=True):
        away = fit.mode - mean
        covariance += share * (fit.covariance + np.outer(away, away))
    return Head(mean[:-1], float(mean[-1]), covariance)
