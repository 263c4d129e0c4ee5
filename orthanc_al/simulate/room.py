"""The reading room that is simulated: what arrives, how long a read takes, and who has what."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from orthanc_al.methods.queueing import OTHERS, FindingPoint, class_probabilities

Vector = NDArray[np.float64]
Numbers = NDArray[np.int64]

DAY_MINUTES: Final = 1440.0


class Rule(StrEnum):
    """Who is read next."""

    FIFO = "fifo"
    READ_BY = "read-by"
    NON_PREEMPTIVE = "non-preemptive"
    PREEMPTIVE = "preemptive"

    def keys(self, arrivals: Vector, urgency: Numbers, targets: Vector) -> Vector:
        """Return what the queue is sorted by, shape (n,)."""
        if self is Rule.FIFO:
            return np.zeros(arrivals.size)
        return arrivals + targets if self is Rule.READ_BY else urgency.astype(np.float64)


class Traffic(Protocol):
    """What arrives; ``readers`` read it."""

    @property
    def readers(self) -> int:
        """How many read at a time."""

    @property
    def utilisation(self) -> float:
        """Share of the readers' time that is asked for."""

    def draw(self, random: np.random.Generator, days: int) -> tuple[Vector, Vector]:
        """Return arrivals in order, in minutes since the first midnight, and reading times in minutes."""


@dataclass(frozen=True, slots=True)
class PoissonTraffic:
    """Studies at random, reading times exponential: what the closed forms are about.

    Attributes
    ----------
    per_day
        Studies expected in a day.
    reading_minutes
        Mean reading time.
    """

    per_day: float
    reading_minutes: float
    readers: int = 1

    @property
    def utilisation(self) -> float:
        """Mean share of the readers' time."""
        return self.per_day * self.reading_minutes / DAY_MINUTES / self.readers

    def draw(self, random: np.random.Generator, days: int) -> tuple[Vector, Vector]:
        """Draw ``days`` days."""
        count = random.poisson(self.per_day * days)
        arrivals = np.sort(random.uniform(0.0, days * DAY_MINUTES, count))
        return arrivals, random.exponential(self.reading_minutes, count)


@dataclass(frozen=True, slots=True)
class ObservedTraffic:
    """A site's own days and reading times, drawn anew with replacement: whole days, single reads.

    Attributes
    ----------
    days
        Of each observed day the arrivals in order, in minutes since its midnight; at least one day.
    reading
        Reading times in minutes, at least one.
    """

    days: tuple[Vector, ...]
    reading: Vector
    readers: int = 1

    @property
    def utilisation(self) -> float:
        """Mean share of the readers' time, day and night."""
        per_day = sum(day.size for day in self.days) / len(self.days)
        return float(per_day * self.reading.mean() / DAY_MINUTES / self.readers)

    def draw(self, random: np.random.Generator, days: int) -> tuple[Vector, Vector]:
        """Draw ``days`` days."""
        picked = random.integers(0, len(self.days), days)
        arrivals = np.concatenate([self.days[one] + n * DAY_MINUTES for n, one in enumerate(picked)])
        return arrivals, random.choice(self.reading, arrivals.size)


@dataclass(frozen=True, slots=True)
class Population:
    """Kinds of studies: what they have, and what the model makes of them.

    Attributes
    ----------
    groups
        Names of what a study may have; the last is `orthanc_al.methods.queueing.OTHERS`.
    tiers
        Names of the classes that the model puts studies into, the most urgent first.
    group, tier
        Of each kind, shape (m,): numbers into the names.
    target
        Minutes from arrival until it should be read, shape (m,).
    weight
        How often a kind occurs, shape (m,).
    """

    groups: tuple[str, ...]
    tiers: tuple[str, ...]
    group: Numbers
    tier: Numbers
    target: Vector
    weight: Vector

    def draw(self, random: np.random.Generator, count: int) -> Numbers:
        """Return ``count`` kinds at random."""
        return random.choice(self.weight.size, count, p=self.weight / self.weight.sum())


def by_operating_points(
    findings: Sequence[FindingPoint],
    flagged_target: float,
    unflagged_target: float,
    *,
    hierarchical: bool = True,
) -> Population:
    """Return the population of a prevalence, sensitivity and specificity for each finding.

    Parameters
    ----------
    findings
        In the order of their urgency.
    flagged_target, unflagged_target
        Minutes; by our rule every flag has the same target.
    hierarchical
        Whether priority follows the order of the findings, or a flag is a flag.
    """
    given = class_probabilities(findings, hierarchical=hierarchical)
    prevalence = np.array([one.prevalence for one in findings])
    shares = np.append(prevalence, 1.0 - prevalence.sum())
    group, tier = np.indices(given.shape).reshape(2, -1)
    flags = tuple(f"flag {one.name}" for one in findings) if hierarchical else ("flag",)
    return Population(
        groups=(*(one.name for one in findings), OTHERS),
        tiers=(*flags, "no flag"),
        group=group,
        tier=tier,
        target=np.where(tier == given.shape[1] - 1, unflagged_target, flagged_target).astype(np.float64),
        weight=(shares[:, None] * given).ravel(),
    )
