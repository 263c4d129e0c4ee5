"""Laplace's approximation of a logistic head's posterior under one normal prior: mode, covariance, evidence.

The posterior is strictly concave, so Newton's method with halved steps arrives. Most of its work is the
curvature, sum_i w_i p_i (1 - p_i) phi_i phi_i': with many priors in turn, that of the last one serves as
a preconditioner for the next (:class:`Fitter`), and the exact one is computed at the mode.

Evidence is Laplace's (Bishop, Pattern Recognition and Machine Learning, 2006, section 4.4): with f the log
posterior at its mode and A the negative Hessian there, ln Z = f + (D/2) ln 2 pi - 1/2 ln det A, the prior's
own normalisation being part of f.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import blas, lapack
from scipy.special import expit

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

BIAS_PRECISION: Final = 0.01
"""Precision of the bias's prior: standard deviation 10 on the logit scale."""

_TOLERANCE: Final = 1e-9
"""Newton's decrement, per unit of weight, at which the mode is found."""

_SLOW: Final = 0.2
"""Where a step leaves more than this share of the decrement, the curvature is computed anew."""


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


@dataclass(frozen=True, slots=True)
class Problem:
    """Design matrix (n, d + 1) with a column of ones, labels (n,) and weights (n,)."""

    design: Matrix
    labels: Vector
    weights: Vector

    @classmethod
    def checked(cls, embeddings: ArrayLike, labels: ArrayLike, sample_weight: ArrayLike | None) -> "Problem":
        """Return the problem.

        Raises
        ------
        ValueError
            Shapes don't agree, something is not finite, a label is not 0 or 1, or a weight is negative.
        """
        design, y = design_of(embeddings), np.asarray(labels, np.float64)
        weights = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        if y.shape != (len(design),) or weights.shape != y.shape:
            raise ValueError(
                f"{len(design)} embeddings, labels of shape {y.shape}, weights of {weights.shape}"
            )
        if not np.isin(y, (0.0, 1.0)).all():
            raise ValueError("labels are 0 or 1")
        if not np.isfinite(design).all():
            raise ValueError("an embedding is not finite")
        if not (weights >= 0).all():
            raise ValueError("sample weights are not negative")
        return cls(design, y, weights)

    def log_likelihood(self, logits: Vector) -> float:
        """Return the weighted log likelihood of the labels."""
        return float(self.weights @ (self.labels * logits - np.logaddexp(0.0, logits)))

    def gradient(self, logits: Vector) -> Vector:
        """Return its gradient with respect to (weight, bias)."""
        return np.asarray((self.weights * (self.labels - expit(logits))) @ self.design)

    def curvature(self, logits: Vector) -> Matrix:
        """Return the upper triangle of sum_i w_i p_i (1 - p_i) phi_i phi_i'."""
        p = expit(logits)
        scaled = self.design * np.sqrt(self.weights * p * (1.0 - p))[:, np.newaxis]
        return np.asarray(blas.dsyrk(1.0, scaled.T))


def design_of(embeddings: ArrayLike) -> Matrix:
    """Return embeddings (n, d) with a column of ones, float64, shape (n, d + 1)."""
    matrix = np.asarray(embeddings, np.float64)
    if matrix.ndim != 2:
        raise ValueError(f"embeddings have shape (n, d), not {matrix.shape}")
    return np.column_stack([matrix, np.ones(len(matrix))])


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
    embeddings, labels, sample_weight
        As for :func:`orthanc_al.methods.head.fit_head`.
    prior_mean
        (weight, bias), shape (d + 1,).
    precision
        Of the weights' prior.
    """
    problem = Problem.checked(embeddings, labels, sample_weight)
    mean = np.asarray(prior_mean, np.float64)
    fit = Fitter(problem).fit(mean, precision, mean)
    assert fit is not None
    return fit


class Fitter:
    """Fits one problem under one prior after another.

    Parameters
    ----------
    problem
        Design, labels and weights.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._enough = _TOLERANCE * (1.0 + problem.weights.sum())
        self._curvature: Matrix | None = None

    def fit(
        self, mean: Vector, precision: float, start: Vector, *, least_evidence: float = -np.inf
    ) -> LaplaceFit | None:
        """Return the posterior under N(mean, I / precision), the bias having its own precision.

        Parameters
        ----------
        mean
            Of (weight, bias), shape (d + 1,).
        precision
            Of the weights' prior.
        start
            Where the search begins: the mode under a prior like this one.
        least_evidence
            Where the last curvature already tells that the log evidence is less than this, None is
            returned: the exact curvature would be for nothing.
        """
        penalty = np.append(np.full(mean.size - 1, precision), BIAS_PRECISION)
        climb = _Climb(self._problem, mean, penalty, start)
        kept, factor, decrement = self._curvature is not None, self._factor(climb), np.inf
        while True:
            gradient = climb.gradient()
            step = np.asarray(lapack.dpotrs(factor, gradient)[0])
            before, decrement = decrement, float(gradient @ step)
            if decrement <= self._enough:
                break
            if kept and _log_evidence(climb.value + decrement, factor) < least_evidence:
                return None  # what is left to gain, about half the decrement, does not reach it
            if kept and decrement > _SLOW * before:
                kept, self._curvature, decrement = False, None, np.inf
                factor = self._factor(climb)
                continue
            if not climb.move(step):
                break  # rounding leaves nothing to gain
            if not kept:
                self._curvature = None
                factor = self._factor(climb)
        if kept:
            self._curvature = None
            factor = self._factor(climb)
        return _laplace(climb.mode, climb.value, factor)

    def _factor(self, climb: "_Climb") -> Matrix:
        """Return the upper Cholesky factor of the negative Hessian, of the last curvature if it is kept."""
        if self._curvature is None:
            self._curvature = self._problem.curvature(climb.logits)
        hessian = self._curvature.copy(order="F")
        hessian[np.diag_indices_from(hessian)] += climb.penalty  # positive, so it is positive definite
        return np.asarray(lapack.dpotrf(hessian, overwrite_a=True)[0])


class _Climb:
    """A point on the log posterior."""

    def __init__(self, problem: Problem, mean: Vector, penalty: Vector, start: Vector) -> None:
        self._problem, self._mean, self.penalty = problem, mean, penalty
        self.mode, self.logits = start.copy(), problem.design @ start
        self.value = self._log_posterior(self.logits, self.mode)

    def gradient(self) -> Vector:
        return self._problem.gradient(self.logits) - self.penalty * (self.mode - self._mean)

    def move(self, step: Vector) -> bool:
        """Take the longest of 1, 1/2, 1/4, ... steps that does not lose; return whether it gained."""
        along = self._problem.design @ step
        before, size = self.value, 1.0
        while True:
            mode, logits = self.mode + size * step, self.logits + size * along
            value = self._log_posterior(logits, mode)
            if value >= before or size < 1e-6:
                self.mode, self.logits, self.value = mode, logits, value
                return value > before
            size /= 2.0

    def _log_posterior(self, logits: Vector, mode: Vector) -> float:
        """Return log likelihood plus log prior density, the prior's normalisation included."""
        quadratic = 0.5 * float(self.penalty @ (mode - self._mean) ** 2)
        normalisation = 0.5 * float(np.log(self.penalty / (2.0 * np.pi)).sum())
        return self._problem.log_likelihood(logits) - quadratic + normalisation


def _log_evidence(value: float, factor: Matrix) -> float:
    half_log_determinant = float(np.log(np.diag(factor)).sum())
    return value + 0.5 * len(factor) * float(np.log(2.0 * np.pi)) - half_log_determinant


def _laplace(mode: Vector, value: float, factor: Matrix) -> LaplaceFit:
    upper = np.asarray(lapack.dpotri(factor)[0])
    covariance = np.triu(upper) + np.triu(upper, 1).T
    return LaplaceFit(mode, covariance, _log_evidence(value, factor))
