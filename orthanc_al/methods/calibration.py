"""Calibration: p = sigma(a x + b) of the head's logit x, with a > 0 and a penalty on ln a and b.

Platt, Probabilistic outputs for support vector machines, 1999. A site's first 80 audit labels hold
some 8 positives: fitted freely, two parameters then double the negative log likelihood, so both are drawn
towards what is known before (`Prior`). With a > 0 no calibration re-orders cases.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

Vector = NDArray[np.float64]

_STEPS: Final = 100
_TOLERANCE: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Calibrator:
    """p = sigma(slope * logit + offset).

    Attributes
    ----------
    slope
        a, above 0.
    offset
        b.
    """

    slope: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.slope) and self.slope > 0.0 and np.isfinite(self.offset)):
            raise ValueError(f"a calibrator's slope is above 0 and both are finite, not {self}")

    def probability(self, logits: ArrayLike) -> Vector:
        """Return the calibrated probabilities of logits of any shape, float64 in [0, 1]."""
        return np.asarray(expit(self.calibrated_logit(logits)))

    def calibrated_logit(self, logits: ArrayLike) -> Vector:
        """Return a x + b, which keeps apart what the probability rounds to 0 or 1."""
        return np.asarray(self.slope * np.asarray(logits, np.float64) + self.offset)


@dataclass(frozen=True, slots=True)
class Prior:
    """What is known of a calibrator before its labels: ln a and b are normal, about those of ``centre``.

    Attributes
    ----------
    slope_precision
        Of ln a: with 4, a is within a factor of e of its centre in 95 %.
    offset_precision
        Of b: with .25, prevalence may differ by some 4 on the logit scale.
    """

    centre: Calibrator = Calibrator()
    slope_precision: float = 4.0
    offset_precision: float = 0.25


FITTED_HEAD: Final = Prior(slope_precision=16.0, offset_precision=4.0)
"""Of a head that was fitted to the site's own reads: its intercept has moved to the site, and its
probabilities are nearly right. Drawn towards the factory's calibrator, the change of prevalence would be
made twice."""


def fit_calibrator(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    prior: Prior | None = None,
) -> Calibrator:
    """Return the calibrator of highest penalised likelihood.

    Parameters
    ----------
    logits
        Uncalibrated logits of cases that nobody chose by their score, shape (n,); n may be 0.
    labels
        0 or 1, shape (n,).
    sample_weight
        How many cases a row stands for, shape (n,); 1 by default.
    prior
        What the fit is drawn towards, and how strongly; weakly towards slope 1 and offset 0 by default.

    Raises
    ------
    ValueError
        Shapes don't agree, a logit is not finite, a label is not 0 or 1, or a weight is negative.
    """
    x, y, w = _checked(logits, labels, sample_weight)
    known = prior or Prior()
    theta = np.array([np.log(known.centre.slope), known.centre.offset])  # (ln a, b)
    value, gradient, curvature = _objective(theta, known, x, y, w)
    for _ in range(_STEPS):
        step = np.linalg.solve(curvature, gradient)
        if gradient @ step < _TOLERANCE:
            break
        size = 1.0
        while _objective(theta - size * step, known, x, y, w)[0] > value and size > _TOLERANCE:
            size /= 2.0
        theta = theta - size * step
        value, gradient, curvature = _objective(theta, known, x, y, w)
    return Calibrator(float(np.exp(theta[0])), float(theta[1]))


def negative_log_likelihood(
    probabilities: ArrayLike, labels: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return the weighted mean of -ln p(label), in nats; probabilities are clipped to [1e-12, 1 - 1e-12]."""
    p = np.clip(np.asarray(probabilities, np.float64), 1e-12, 1.0 - 1e-12)
    y = np.asarray(labels, np.float64)
    w = np.ones(p.shape) if sample_weight is None else np.asarray(sample_weight, np.float64)
    return float(-(w @ (y * np.log(p) + (1.0 - y) * np.log1p(-p))) / w.sum())


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, sample_weight: ArrayLike | None = None, bins: int = 10
) -> float:
    """Return the weighted mean gap between probability and frequency over ``bins`` of equal mass.

    Parameters
    ----------
    probabilities, labels, sample_weight
        Shape (n,).
    bins
        Number of groups of neighbours by probability that have the same weight each, as near as whole
        cases allow (Naeini et al., AAAI 2015, with quantile bins).
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels, np.float64)
    w = np.ones(p.size) if sample_weight is None else np.asarray(sample_weight, np.float64)
    order = np.argsort(p, kind="stable")
    p, y, w = p[order], y[order], w[order]
    middle = np.cumsum(w) - w / 2.0
    group = np.minimum((middle / w.sum() * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(group, weights=w * (p - y), minlength=bins)
    return float(np.abs(gaps).sum() / w.sum())


def _checked(
    logits: ArrayLike, labels: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[Vector, Vector, Vector]:
    x, y = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    w = np.ones(x.shape) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if x.ndim != 1 or x.shape != y.shape or w.shape != x.shape:
        raise ValueError(f"logits, labels and weights of shapes {x.shape}, {y.shape} and {w.shape}")
    if not np.isfinite(x).all():
        raise ValueError("a logit is not finite")
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("labels are 0 or 1")
    if (w < 0).any():
        raise ValueError("sample weights are not negative")
    return x, y, w


def _objective(
    theta: Vector, prior: Prior, x: Vector, y: Vector, w: Vector
) -> tuple[float, Vector, NDArray[np.float64]]:
    """Return the penalised negative log likelihood at (ln a, b), its gradient and a curvature.

    In ln a the likelihood is not convex everywhere; the curvature is Fisher's, which is always positive
    definite, so that each step points downhill.
    """
    scaled = np.exp(np.clip(theta[0], -20.0, 20.0)) * x
    z = scaled + theta[1]
    away = theta - np.array([np.log(prior.centre.slope), prior.centre.offset])
    precision = np.array([prior.slope_precision, prior.offset_precision])
    value = float(w @ (np.logaddexp(0.0, z) - y * z) + 0.5 * precision @ away**2)
    p = expit(z)
    residual, information = w * (p - y), w * p * (1.0 - p)
    gradient = np.array([residual @ scaled, residual.sum()]) + precision * away
    mixed = information @ scaled
    curvature = np.array([[information @ scaled**2, mixed], [mixed, information.sum()]])
    return value, gradient, curvature + np.diag(precision)
