"""The head: logistic regression on frozen embeddings, with a prior about the factory's head.

Each night all confirmed reads are fitted anew, which is convex and so has one answer. The prior is
N(c w0, I / precision) with w0 the factory's head. How far a site is to be trusted against the
factory is not known beforehand, so the fits over a grid of centres c and precisions are averaged with
their evidence (MacKay, The evidence framework applied to classification networks, Neural Computation
4:720, 1992), which is Laplace's approximation (`orthanc_al.methods.laplace`).

The bias has a prior of its own and weak one, N(c b0, 1 / 0.01), whatever the precision of the weights:
prevalence differs from site to site and must be free to move, but an improper prior has no evidence
to compare.

With fewer reads than features the labels say nothing across the span of the embeddings: there each prior
stays as it is, and so the fits are done within the span, which gives the same answer sooner.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from orthanc_al.methods.laplace import Fitter, LaplaceFit, Problem, design_of

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

CENTRES: Final = (0.0, 0.5, 1.0)
"""Multiples of the factory's head about which the prior is centred."""

LOGIT_VARIANCES: Final = (0.03, 0.3, 3.0, 30.0, 300.0)
"""How far the priors let a usual case's logit stray from the centre: variance of w'phi, the precision of the
weights being mean |phi|^2 over it. So the grid fits embeddings of any length and scale."""

_NEGLIGIBLE: Final = 40.0
"""A prior whose log evidence is this much (and a quarter for each feature) below the best has no share."""

_RANK: Final = 1e-12
"""Least eigenvalue of the embeddings' Gram matrix, as a share of the greatest, that spans a direction."""


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
        design = design_of(embeddings)
        return np.asarray(((design @ self.covariance) * design).sum(1))


def fit_head(
    embeddings: ArrayLike,
    labels: ArrayLike,
    prior_weight: ArrayLike,
    prior_bias: float = 0.0,
    *,
    sample_weight: ArrayLike | None = None,
    centres: tuple[float, ...] = CENTRES,
    logit_variances: tuple[float, ...] = LOGIT_VARIANCES,
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
    centres, logit_variances
        The grid.

    Returns
    -------
    Head
        Mean of the fits; the covariance has the spread between them, too (moments of a mixture).

    Raises
    ------
    ValueError
        Shapes don't agree, something is not finite, a label is not 0 or 1, or a weight is negative.
    """
    problem = Problem.checked(embeddings, labels, sample_weight)
    centre = np.append(np.asarray(prior_weight, np.float64), prior_bias)
    if centre.shape != (problem.design.shape[1],):
        raise ValueError(
            f"the prior has {centre.size - 1} weights, the embeddings have {problem.design.shape[1] - 1}"
        )
    if not centre[:-1].any():
        centres = (0.0,) if prior_bias == 0.0 else centres  # they would all be one
    span = _Span.of(problem)
    fitter = Fitter(span.within(problem))
    precisions = [_mean_square(problem) / variance for variance in sorted(logit_variances)]
    return _average(_fits(fitter, span, centre, centres, precisions), span, centre)


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


def _mean_square(problem: Problem) -> float:
    """Return the mean squared length of the embeddings, 1 where there is none that has any."""
    total = float(problem.weights @ (problem.design[:, :-1] ** 2).sum(1))
    return total / float(problem.weights.sum()) if total > 0.0 else 1.0


@dataclass(frozen=True, slots=True)
class _Span:
    """An orthonormal basis (d, r) of what the embeddings span; None where that is everything."""

    basis: Matrix | None

    @classmethod
    def of(cls, problem: Problem) -> "_Span":
        rows = problem.design[:, :-1]
        n, d = rows.shape
        if n >= d:
            return cls(None)
        values, vectors = np.linalg.eigh(rows @ rows.T)
        kept = values > _RANK * max(float(values.max(initial=0.0)), np.finfo(np.float64).tiny)
        return cls(rows.T @ (vectors[:, kept] / np.sqrt(values[kept])))

    def within(self, problem: Problem) -> Problem:
        """Return the problem in coordinates of the basis."""
        if self.basis is None:
            return problem
        inner = design_of(problem.design[:, :-1] @ self.basis)
        return Problem(inner, problem.labels, problem.weights)

    def down(self, vector: Vector) -> Vector:
        """Return (weight, bias) in coordinates of the basis."""
        return vector if self.basis is None else np.append(vector[:-1] @ self.basis, vector[-1])

    def up(self, vector: Vector) -> Vector:
        """Return (weight, bias) of coordinates."""
        return vector if self.basis is None else np.append(self.basis @ vector[:-1], vector[-1])

    def covariance(self, inner: Matrix, across: float) -> Matrix:
        """Return the covariance whose part within the span is ``inner``, and ``across`` it a variance."""
        if self.basis is None:
            return inner
        d, r = self.basis.shape
        lift = np.zeros((d + 1, r + 1))
        lift[:d, :r], lift[d, r] = self.basis, 1.0
        whole = lift @ inner @ lift.T
        whole[:d, :d] += across * (np.eye(d) - self.basis @ self.basis.T)
        return whole


@dataclass(frozen=True, slots=True)
class _Member:
    """A fit of the average, in coordinates of the span, and the prior that it is under."""

    fit: LaplaceFit
    c: float
    precision: float


def _fits(
    fitter: Fitter, span: _Span, centre: Vector, centres: tuple[float, ...], precisions: list[float]
) -> list[_Member]:
    """Fit under each prior, the strictest first; those without a share worth having are left out."""
    inner = span.down(centre)
    margin = _NEGLIGIBLE + inner.size / 4.0
    found: list[_Member] = []
    start, most = None, -np.inf
    for precision in precisions:
        for c in centres:
            mean = c * inner
            fit = fitter.fit(mean, precision, mean if start is None else start, least_evidence=most - margin)
            if fit is not None:
                found.append(_Member(fit, c, precision))
                start, most = fit.mode, max(most, fit.log_evidence)
    return found


def _average(members: list[_Member], span: _Span, centre: Vector) -> Head:
    """Return the moments of the mixture of the fits, weighted by evidence."""
    evidence = np.array([member.fit.log_evidence for member in members])
    shares = np.exp(evidence - evidence.max())
    shares /= shares.sum()
    outside = centre - span.up(span.down(centre))  # of it nothing was learned
    modes = np.array([span.up(member.fit.mode) + member.c * outside for member in members])
    mean = shares @ modes
    inner = sum(share * member.fit.covariance for share, member in zip(shares, members, strict=True))
    across = sum(share / member.precision for share, member in zip(shares, members, strict=True))
    covariance = span.covariance(np.asarray(inner), float(across))
    away = modes - mean
    covariance = covariance + (shares[:, np.newaxis] * away).T @ away
    return Head(mean[:-1], float(mean[-1]), covariance)
