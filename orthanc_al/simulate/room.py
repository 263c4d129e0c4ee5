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


class Arrivals(Protocol):
    """When studies come."""

    @property
    def per_day(self) -> float:
        """How many, on the mean."""

    def draw(self, random: np.random.Generator, days: int) -> Vector:
        """Return arrivals in order, in minutes since the first midnight."""


class Reading(Protocol):
    """How long a read takes."""

    @property
    def mean(self) -> float:
        """Minutes."""

    def draw(self, random: np.random.Generator, count: int) -> Vector:
        """Return ``count`` reading times in minutes."""


@dataclass(frozen=True, slots=True)
class PoissonArrivals:
    """At random, ``per_day`` expected in a day: what the closed forms are about."""

    per_day: float

    def draw(self, random: np.random.Generator, days: int) -> Vector:
        """Draw ``days`` days."""
        return np.sort(random.uniform(0.0, days * DAY_MINUTES, random.poisson(self.per_day * days)))


@dataclass(frozen=True, slots=True)
class ObservedDays:
    """A site's own days, drawn anew as wholes.

    Attributes
    ----------
    days
        Of each observed day the arrivals in order, in minutes since its midnight; at least one day.
    """

    days: tuple[Vector, ...]

    @property
    def per_day(self) -> float:
        """The mean over the days."""
        return sum(day.size for day in self.days) / len(self.days)

    def draw(self, random: np.random.Generator, days: int) -> Vector:
        """Draw ``days`` days with replacement."""
        picked = random.integers(0, len(self.days), days)
        return np.concatenate([self.days[one] + n * DAY_MINUTES for n, one in enumerate(picked)])


@dataclass(frozen=True, slots=True)
class ExponentialReading:
    """Exponential reading times: the closed forms' again."""

    mean: float

    def draw(self, random: np.random.Generator, count: int) -> Vector:
        """Draw ``count`` reads."""
        return random.exponential(self.mean, count)


@dataclass(frozen=True, slots=True)
class ObservedReading:
    """A site's own reading times in minutes, drawn anew one by one; at least one."""

    minutes: Vector

    @property
    def mean(self) -> float:
        """Over all that were observed."""
        return float(self.minutes.mean())

    def draw(self, random: np.random.Generator, count: int) -> Vector:
        """Draw ``count`` reads with replacement."""
        return random.choice(self.minutes, count)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What arrives, how long its reads take, and how many read at a time, day and night."""

    arrivals: Arrivals
    reading: Reading
    readers: int = 1

    @property
    def utilisation(self) -> float:
        """Mean share of the readers' time that is asked for."""
        return self.arrivals.per_day * self.reading.mean / DAY_MINUTES / self.readers


def poisson(per_day: float, reading_minutes: float, readers: int = 1) -> Traffic:
    """Return M/M/c: the traffic that the closed forms are about."""
    return Traffic(PoissonArrivals(per_day), ExponentialReading(reading_minutes), readers)


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
