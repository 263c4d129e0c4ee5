"""What logged propensities are for: the error rate of all from the labels of some."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from orthanc_al.methods.acquisition import PowerMargin, best
from orthanc_al.methods.delong import auc
from orthanc_al.methods.estimators import (
    hajek_mean,
    horvitz_thompson_total,
    lure_mean,
    sequential_probabilities,
    weighted_auc,
)
from tests.bench.learning.world import Hospital, world

REPEATS: Final = 2000
ASKED: Final = 100
AUDIT_SHARE: Final = 0.2


@dataclass(frozen=True)
class Bias:
    """Mean estimate minus the truth, over repeats of the draw, and the standard error of that mean.

    Attributes
    ----------
    figures
        By estimator: bias, its standard error, and the standard deviation of one estimate.
    """

    truth: float
    figures: dict[str, tuple[float, float, float]]


def error_rate(of: Hospital, seed: int = 0, repeats: int = REPEATS) -> Bias:
    """Ask again and again about one pool of one head, as the stream does, and as the batch's first step does.

    The stream audits each study, and else flags it by a threshold on g; pi is the probability of either, and
    so never less than the audit's (Hajek, Horvitz and Thompson). The batch takes the best by g (LURE).
    ``naive`` is the mean of those asked.
    """
    here = world(of, seed)
    logits = here.factory.calibrator.calibrated_logit(here.factory.head.logits(here.pool.embeddings))
    p = 1.0 / (1.0 + np.exp(-logits))
    loss = ((p > 0.5) != (here.pool.labels == 1)).astype(np.float64)
    strategy, rng = PowerMargin(beta=1.0), np.random.default_rng((seed, 41))
    merits = strategy.score(p, np.full(len(p), np.exp(-1.0)))  # at this noise the Gumbel part is 0
    threshold = _threshold(strategy, p, min(ASKED, len(p) // 3))
    audited = AUDIT_SHARE * min(ASKED, len(p) // 3) / len(p)
    pi = audited + (1.0 - audited) * strategy.chance(p, threshold)
    rows = []
    for _ in range(repeats):
        g = strategy.score(p, rng.uniform(1e-12, 1.0, len(p)))
        flagged = np.flatnonzero((g > threshold) | (rng.random(len(p)) < audited))
        drawn = best(g, g, min(ASKED, len(p) // 3))
        q = sequential_probabilities(merits, drawn)
        rows.append(
            (
                loss[flagged].mean(),
                hajek_mean(loss[flagged], pi[flagged]),
                horvitz_thompson_total(loss[flagged], pi[flagged]) / len(p),
                lure_mean(loss[drawn], q, len(p)),
                *_areas(logits[flagged], here.pool.labels[flagged], pi[flagged]),
            )
        )
    truths = np.array([loss.mean()] * 4 + [auc(logits, here.pool.labels)] * 2)
    found = np.array(rows) - truths
    names = (
        "error, naive",
        "error, Hajek",
        "error, Horvitz-Thompson",
        "error, LURE",
        "AUC, naive",
        "AUC, Hajek",
    )
    return Bias(
        float(loss.mean()),
        {
            name: (float(np.nanmean(x)), float(np.nanstd(x) / np.sqrt(repeats)), float(np.nanstd(x)))
            for name, x in zip(names, found.T, strict=True)
        },
    )


def _areas(logits: np.ndarray, labels: np.ndarray, pi: np.ndarray) -> tuple[float, float]:
    """Return the AUC of the flagged, unweighted and weighted; NaN where they are of one class."""
    if not 0 < labels.sum() < len(labels):
        return float("nan"), float("nan")
    return auc(logits, labels), weighted_auc(logits, labels, pi)


def _threshold(strategy: PowerMargin, p: np.ndarray, wanted: int) -> float:
    """Return the threshold at which ``wanted`` studies are flagged in expectation."""
    low, high = -200.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2.0
        low, high = (middle, high) if strategy.chance(p, middle).sum() > wanted else (low, middle)
    return (low + high) / 2.0
