"""Read-by times: arrival and a target that falls with risk; the worklist is sorted by the earliest.

Earliest due date with due = arrival + target is the urgency-number rule (Jackson, Some problems in
queueing with dynamic priorities, Naval Research Logistics Quarterly 7:235, 1960; Goldberg, Analysis of the
earliest due date scheduling rule in queueing systems, Mathematics of Operations Research 2:145, 1977): it is
written once, and whoever waits long enough comes first, so that it starves nobody.
"""

import math
from dataclasses import dataclass
from typing import Final

from orthanc_al.domain import Tier

HEAD_START: Final = 900.0
"""Seconds that a study's work goes ahead of others' where it is ordered STAT or one of its images looks
urgent, the default target of the highest tier: what waits longer than that is not overtaken."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Minutes from arrival to read; high <= review <= none <= low."""

    high: float
    review: float
    none: float
    low: float

    def __post_init__(self) -> None:
        if not 0 < self.high <= self.review <= self.none <= self.low:
            raise ValueError(f"targets must be above 0 and must not fall from high to low: {self}")


def target_minutes(
    tier: Tier, probability: float, low: float | None, high: float | None, targets: Targets
) -> float:
    """Return the target of a scored study.

    Within ``review`` it falls from the review target at the lower border to the high target at the
    upper one, within ``low`` from the low target at probability 0 to that of a study without a score at
    the border. So it is continuous at the upper border, each tier's target is kept or bettered, and
    nothing that is ranked low comes before a study without a score.

    Parameters
    ----------
    tier
        As `orthanc_al.triage.tier` found it.
    probability
        Calibrated, in [0, 1].
    low, high
        Borders between tiers, as calibrated probabilities; None where there is no such border.
    """
    if tier is Tier.HIGH:
        return targets.high
    if tier is Tier.NONE:
        return targets.none
    if tier is Tier.LOW:
        return _between(probability, 0.0, low or 0.0, targets.low, targets.none)
    return _between(probability, low or 0.0, 1.0 if high is None else high, targets.review, targets.high)


def read_by(arrived_at: float, minutes: float, priority: str, targets: Targets) -> int:
    """Return the read-by time in minutes since 1970, never later than the order's priority asks for.

    Parameters
    ----------
    arrived_at
        Seconds since 1970.
    minutes
        The study's target.
    priority
        Of the order: ``STAT`` asks for the high target, ``HIGH`` for the review target.
    """
    asked = {"STAT": targets.high, "HIGH": targets.review}.get(priority, math.inf)
    return math.floor(arrived_at / 60.0 + min(minutes, asked))


def place_in_line(came_at: float, priority: str) -> float:
    """Return when work on a study counts as come, in seconds since 1970: the earliest is done first."""
    return came_at - HEAD_START if priority == "STAT" else came_at


def unscored_read_by(arrived_at: float, priority: str, targets: Targets) -> int:
    """Return the read-by time of a study without a score, a blind audit case among them."""
    return read_by(arrived_at, targets.none, priority, targets)


def _between(value: float, start: float, end: float, at_start: float, at_end: float) -> float:
    share = 1.0 if end <= start else min(max((value - start) / (end - start), 0.0), 1.0)
    return at_start + share * (at_end - at_start)
