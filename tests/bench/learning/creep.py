"""120 nights of gates on one test set: does quality creep down?

Feng, Emerson & Simon, Approval policies for modifications to machine learning-based software as a medical
device, Biometrics 2021. Made up, so that the truth is known: scores of a head w on unit normal embeddings
about class means that lie m apart, AUC(w) = Phi(w'm / (sqrt 2 |w|)); each night the candidate is the champion
plus noise, and so more often worse than better.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import norm

from orthanc_al.methods.delong import compare, expected_error

NIGHTS: Final = 120
POSITIVES, NEGATIVES = 100, 900
DIMENSION: Final = 12
START_AUC: Final = 0.92
BEST_AUC: Final = 0.94
_NOISE: Final = 0.06
_CONFIDENCE: Final = 0.95
_REFERENCE_AUC: Final = 0.95

RULES: Final = ("superiority and anchor", "superiority", "non-inferiority and anchor", "non-inferiority")


@dataclass(frozen=True)
class Creep:
    """True AUC, shape (sites, nights + 1), by rule."""

    aucs: dict[str, np.ndarray]

    def loss(self, rule: str) -> float:
        """Return how much of the AUC is lost at the 5th percentile of sites at the last night."""
        last = self.aucs[rule][:, -1]
        return float(START_AUC - np.quantile(last, 0.05))


def simulate(sites: int = 200, nights: int = NIGHTS, seed: int = 0) -> Creep:
    """Run every rule over the same sites and the same candidates' noise."""
    return Creep(
        {
            rule: np.array(
                [_site(rule, nights, np.random.default_rng((seed, site))) for site in range(sites)]
            )
            for rule in RULES
        }
    )


def _site(rule: str, nights: int, rng: np.random.Generator) -> np.ndarray:
    signal = np.zeros(DIMENSION)
    signal[0] = np.sqrt(2.0) * norm.ppf(BEST_AUC)
    labels = np.repeat([1, 0], [POSITIVES, NEGATIVES])
    test = rng.standard_normal((len(labels), DIMENSION)) + labels[:, np.newaxis] * signal
    anchor = champion = _factory(signal, rng)
    margin = float(norm.ppf(_CONFIDENCE)) * expected_error(_REFERENCE_AUC, POSITIVES, NEGATIVES)
    truth = [_auc(champion, signal)]
    for _ in range(nights):
        candidate = champion + _NOISE * rng.standard_normal(DIMENSION)
        candidate = candidate / np.linalg.norm(candidate)
        if _passes(rule, test @ candidate, test @ champion, test @ anchor, labels, margin):
            champion = candidate
        truth.append(_auc(champion, signal))
    return np.array(truth)


def _factory(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a head of length 1 whose true AUC is `START_AUC`."""
    cosine = norm.ppf(START_AUC) / norm.ppf(BEST_AUC)
    across = rng.standard_normal(DIMENSION)
    across[0] = 0.0
    along = signal / np.linalg.norm(signal)
    return np.asarray(cosine * along + np.sqrt(1.0 - cosine**2) * across / np.linalg.norm(across))


def _auc(head: np.ndarray, signal: np.ndarray) -> float:
    return float(norm.cdf(head @ signal / np.sqrt(2.0)))


def _passes(
    rule: str, new: np.ndarray, old: np.ndarray, first: np.ndarray, labels: np.ndarray, margin: float
) -> bool:
    """Judge by the gate's rule (a), or by less than that (orthanc_al.learn.gate)."""
    bar = 0.0 if rule.startswith("superiority") else -margin
    if compare(new, old, labels, _CONFIDENCE).lower <= bar:
        return False
    return "anchor" not in rule or compare(new, first, labels, _CONFIDENCE).lower > -margin
