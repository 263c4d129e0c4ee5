"""What the gate is given, and what it says: plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


class Verdict(StrEnum):
    """What the gate says; only ``better`` may go live."""

    BETTER = "better"
    NOT_BETTER = "not_better"
    NOT_ENOUGH = "not_enough"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Scores:
    """One model's answers to the test cases.

    Attributes
    ----------
    logits, probabilities
        Shape (n,).
    operating
        Probability at and above which a case is flagged.
    """

    logits: Vector
    probabilities: Vector
    operating: float

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """Which cases are at or above the operating threshold, shape (n,)."""
        return self.probabilities >= self.operating


@dataclass(frozen=True, slots=True)
class GateCases:
    """Audited cases of the fold ``gate``, and what three models say of them.

    Attributes
    ----------
    labels
        0 or 1, shape (n,).
    patients
        Length n.
    subgroups
        What a case belongs to, by the kind of group (scanner, sex, age), each of length n; an empty
        text where it is not known.
    """

    labels: NDArray[np.int64]
    patients: tuple[str, ...]
    candidate: Scores
    champion: Scores
    anchor: Scores
    subgroups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def positives(self) -> int:
        """Cases that have the finding."""
        return int(self.labels.sum())

    @property
    def negatives(self) -> int:
        """Cases that have it not."""
        return int(self.labels.size) - self.positives


@dataclass(frozen=True, slots=True)
class Training:
    """What is to be known of the training labels.

    Attributes
    ----------
    patients
        Of all training cases.
    audit_overlap
        Share of audited cases lost to patients who were trained on before.
    new_head
        False where calibrator and thresholds alone would change.
    """

    positives: int
    negatives: int
    patients: frozenset[str]
    audit_overlap: float
    new_head: bool


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the gate.

    Attributes
    ----------
    verdict
        What it means for the whole when it fails.
    """

    name: str
    passed: bool
    text: str
    figures: Mapping[str, float]
    verdict: Verdict = Verdict.NOT_BETTER


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict and all checks that led to it."""

    verdict: Verdict
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """Those that did not hold."""
        return tuple(check for check in self.checks if not check.passed)
