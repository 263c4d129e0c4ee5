"""Calibration with 80 audit labels, and the tiers' guarantee on resamples of whole patients."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from orthanc_al.methods.calibration import (
    FITTED_HEAD,
    Calibrator,
    expected_calibration_error,
    fit_calibrator,
    negative_log_likelihood,
)
from orthanc_al.methods.conformal import high_threshold, low_threshold
from orthanc_al.methods.head import Head
from tests.bench.learning import loop
from tests.bench.learning.service_rule import ServiceRule
from tests.bench.learning.world import PREVALENCE, Cases, Hospital, World, world

AUDIT_LABELS: Final = 80
ALPHA: Final = 0.05
FALSE_ALARMS: Final = 0.10
DELTA: Final = 0.10
RESAMPLES: Final = 2000
_PERFECT_DRAWS: Final = 100


@dataclass(frozen=True)
class Calibration:
    """Of one setting, shape (seeds,) each.

    Attributes
    ----------
    error, floor
        Expected calibration error, and that of a perfect model on a test set of that size and make.
    nll, raw
        Negative log likelihood with the calibrator, and of the head's own probabilities.
    pooled
        Probability, label and weight of all seeds' test studies, for the diagram.
    """

    error: np.ndarray
    floor: np.ndarray
    nll: np.ndarray
    raw: np.ndarray
    pooled: tuple[np.ndarray, np.ndarray, np.ndarray]


def calibration(of: Hospital, seeds: int) -> Calibration:
    """Fit the calibrator on 80 audited studies of the pool, after 100 labels that the service asked for."""
    rows = [_one_calibration(world(of, seed)) for seed in range(seeds)]
    error, floor, nll, raw = (np.array([row[k] for row in rows]) for k in range(4))
    pooled = tuple(np.concatenate([row[4][k] for row in rows]) for k in range(3))
    return Calibration(error, floor, nll, raw, pooled)  # type: ignore[arg-type]


def _one_calibration(here: World) -> tuple:
    rng = np.random.default_rng((here.seed, 21))
    # Audits are drawn when studies arrive; questions come from the others.
    order = rng.permutation(len(here.pool))
    many = min(AUDIT_LABELS, len(order) // 2)  # a small pool has to leave something to be asked about
    audited, rest = here.pool.rows(order[:many]), here.pool.rows(order[many:])
    head, _ = _adapted(replace(here, pool=rest))
    calibrator = fit_calibrator(head.logits(audited.embeddings), audited.labels, prior=FITTED_HEAD)
    logits = head.logits(here.test.embeddings)
    p, raw = calibrator.probability(logits), Calibrator().probability(logits)
    y, w = here.test.labels, here.weights
    return (
        expected_calibration_error(p, y, w),
        _floor(p, y, w, rng),
        negative_log_likelihood(p, y, w),
        negative_log_likelihood(raw, y, w),
        (p, y, w),
    )


def _adapted(here: World) -> tuple[Head, np.ndarray]:
    """Return the head after 100 labels, and what was asked for it."""
    asked = loop.run(here, ServiceRule(), most=100).asked
    return loop.fitted(here, here.pool.rows(asked), averaged=True), asked


def _floor(p: np.ndarray, y: np.ndarray, w: np.ndarray, rng: np.random.Generator) -> float:
    """Return the mean error of a model whose probabilities are all true, as many of either class tested."""
    found = []
    of_class = [rng.choice(len(p), (_PERFECT_DRAWS, int((y == k).sum())), p=_shares(p, w, k)) for k in (0, 1)]
    labels = np.repeat([0, 1], [part.shape[1] for part in of_class])
    weight = np.where(labels == 1, PREVALENCE / (labels == 1).sum(), (1 - PREVALENCE) / (labels == 0).sum())
    scale = float((w * p).sum() / w.sum())  # the classes' shares if p is true
    weight = weight * np.where(labels == 1, scale / PREVALENCE, (1 - scale) / (1 - PREVALENCE))
    for negatives, positives in zip(*of_class, strict=True):
        found.append(expected_calibration_error(p[np.concatenate([negatives, positives])], labels, weight))
    return float(np.mean(found))


def _shares(p: np.ndarray, w: np.ndarray, label: int) -> np.ndarray:
    mass = w * (p if label else 1.0 - p)
    return np.asarray(mass / mass.sum())


@dataclass(frozen=True)
class Guarantee:
    """Of one setting and number of audits.

    Attributes
    ----------
    broken
        Share of resamples in which more than alpha of the positive patients are ranked low.
    none
        Share of resamples that give no low tier.
    low
        Mean share of all studies in the low tier where there is one.
    false_alarms
        Share of resamples in which more than 10 % of the negatives are ranked high.
    """

    audits: int
    broken: float
    none: float
    low: float
    false_alarms: float


def guarantee(
    of: Hospital, audits: int, alpha: float = ALPHA, resamples: int = RESAMPLES, seed: int = 0
) -> Guarantee:
    """Draw whole patients with a random number of positives, set thresholds, and look at everybody.

    A patient is audited once, by one study at random, as the service does; a share `PREVALENCE` of the
    patients drawn is positive. The truth is over the same draw of patients, so that the guarantee speaks of
    what it promises.
    """
    here = world(of, seed)
    head, asked = _adapted(here)
    trained = np.unique(here.pool.patients[asked])
    cases = of.site.rows(np.flatnonzero(~np.isin(of.site.patients, trained)))
    scores = here.factory.calibrator.probability(head.logits(cases.embeddings))
    classes = [_Patients.of(cases, scores, label) for label in (0, 1)]
    rng = np.random.default_rng((seed, audits, 31))
    rows = np.array([_one_resample(classes, audits, alpha, rng) for _ in range(resamples)])
    found = ~np.isnan(rows[:, 0])
    return Guarantee(
        audits=audits,
        broken=float((rows[found, 0] > alpha).sum() / resamples),
        none=float(1.0 - found.mean()),
        low=float(rows[found, 1].mean()) if found.any() else 0.0,
        false_alarms=float((rows[:, 2] > FALSE_ALARMS).mean()),
    )


@dataclass(frozen=True)
class _Patients:
    """Patients of one class: the scores of each one's studies of that class, one after another."""

    scores: np.ndarray
    start: np.ndarray
    count: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, cases: Cases, scores: np.ndarray, label: int) -> "_Patients":
        rows = np.flatnonzero(cases.labels == label)
        rows = rows[np.argsort(cases.patients[rows], kind="stable")]
        _, start, count = np.unique(cases.patients[rows], return_index=True, return_counts=True)
        return cls(scores[rows], start, count, np.repeat(1.0 / count, count) / len(count))

    def drawn(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """Return the score of one study at random of each of ``number`` patients."""
        patient = rng.integers(len(self.start), size=number)
        return self.scores[self.start[patient] + (rng.random(number) * self.count[patient]).astype(int)]

    def share(self, below: float) -> float:
        return float(self.weight @ (self.scores < below))


def _one_resample(
    classes: list[_Patients], audits: int, alpha: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return the true miss rate (NaN without a low tier), the low tier's share, the false alarm rate."""
    positives = int(rng.binomial(audits, PREVALENCE))
    low = low_threshold(classes[1].drawn(positives, rng), alpha, DELTA)
    high = high_threshold(classes[0].drawn(audits - positives, rng), FALSE_ALARMS, DELTA)
    alarms = 0.0 if high is None else 1.0 - classes[0].share(np.nextafter(high.value, np.inf))
    if low is None:
        return float("nan"), 0.0, alarms
    missed, spared = classes[1].share(low.value), classes[0].share(low.value)
    return missed, PREVALENCE * missed + (1 - PREVALENCE) * spared, alarms
