"""Automation bias: whether readers agree with the model more often when they see what it says.

Reads with the result in view are compared with blind ones (audits) of the same score: what was asked of the
radiologist is not what the audit draws, and agreement hangs on the score. So studies are put into strata of
neighbours by probability, and the difference in agreement is pooled over them (Mantel & Haenszel, JNCI
22:719, 1959, as a risk difference; its variance by Greenland & Robins, Biometrics 41:55, 1985).
A difference above 0 is what automation bias looks like; that readers learn from a good model looks the same.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm


@dataclass(frozen=True, slots=True)
class AutomationBias:
    """How much more often reads agree with the model when its result is in view.

    Attributes
    ----------
    difference
        Agreement with the result in view minus agreement without, at the same score; -1 to 1.
    low, high
        Its interval.
    shown, blind
        Reads with and without the result in view that were compared: those of strata that have both.
    agreed_shown, agreed_blind
        Share of each that agreed, as counted.
    """

    difference: float
    low: float
    high: float
    shown: int
    blind: int
    agreed_shown: float
    agreed_blind: float


def automation_bias(
    probabilities: ArrayLike,
    present: ArrayLike,
    shown: ArrayLike,
    *,
    border: float = 0.5,
    strata: int = 10,
    confidence: float = 0.95,
) -> AutomationBias | None:
    """Return the difference in agreement, None where no stratum has reads of both kinds.

    Parameters
    ----------
    probabilities
        What the model said of each study, shape (n,).
    present
        Whether the reader found it, shape (n,).
    shown
        Whether the reader could see what the model said, shape (n,).
    border
        Probability from which the model is taken to say "present".
    strata
        Most strata; each has as many studies as the others, as near as ties allow.
    confidence
        Of the interval, by the normal approximation.

    Raises
    ------
    ValueError
        Lengths differ, or a probability is not a number.
    """
    p = np.asarray(probabilities, np.float64).ravel()
    found, seen = np.asarray(present, np.bool_).ravel(), np.asarray(shown, np.bool_).ravel()
    if not p.shape == found.shape == seen.shape:
        raise ValueError(f"{p.size} probabilities, {found.size} reads, {seen.size} marks of what was shown")
    if not np.isfinite(p).all():
        raise ValueError("a probability is not a number")
    agreed = (p >= border) == found
    edges = np.unique(np.quantile(p, np.linspace(0.0, 1.0, strata + 1)[1:-1])) if p.size else np.empty(0)
    tables = [_table(agreed[own], seen[own]) for own in _members(np.searchsorted(edges, p, side="right"))]
    both = np.array([table for table in tables if table[1] and table[3]], np.float64)
    if both.size == 0:
        return None
    a, n1, b, n0 = both.T
    total = n1 + n0
    scale = float((n1 * n0 / total).sum())
    difference = float(((a * n0 - b * n1) / total).sum()) / scale
    variance = (a * (n1 - a) * n0**3 + b * (n0 - b) * n1**3) / (n1 * n0 * total**2)
    reach = float(norm.ppf(0.5 + confidence / 2.0)) * float(np.sqrt(variance.sum())) / scale
    return AutomationBias(
        difference=difference,
        low=max(-1.0, difference - reach),
        high=min(1.0, difference + reach),
        shown=int(n1.sum()),
        blind=int(n0.sum()),
        agreed_shown=float(a.sum() / n1.sum()),
        agreed_blind=float(b.sum() / n0.sum()),
    )


def _members(stratum: ArrayLike) -> list[np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    numbers = np.asarray(stratum)
    return [numbers == number for number in np.unique(numbers)]


def _table(agreed: ArrayLike, shown: ArrayLike) -> tuple[int, int, int, int]:
    """Return those that agreed and all, with the result in view and without."""
    right, seen = np.asarray(agreed, np.bool_), np.asarray(shown, np.bool_)
    return int((right & seen).sum()), int(seen.sum()), int((right & ~seen).sum()), int((~seen).sum())
