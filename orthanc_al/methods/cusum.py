"""CUSUM of a rate: tells soon after a share of wrong answers has risen, and seldom while it has not.

Page, Continuous inspection schemes, Biometrika 41:100, 1954. The chart is the Bernoulli CUSUM of Reynolds &
Stoumbos, A CUSUM chart for monitoring a proportion when inspecting continuously, Journal of Quality
Technology 31:87, 1999: its log likelihood ratios are rounded to whole steps, which makes the chart
readable (a wrong answer adds ``up``, a right one takes 1 away, below 0 it does not fall, at ``limit`` it
tells) and its average run length exact, as the solution of a finite set of linear equations.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

LARGEST_LIMIT: Final = 2048
"""Limits above are not looked for: such a chart would take thousands of cases to tell anything."""


@dataclass(frozen=True)
class Chart:
    """A one-sided chart of a rate.

    Attributes
    ----------
    accepted
        The rate that is no reason for an alarm, between 0 and 1.
    up
        What an event adds, at least 1; each case without one takes 1 away.
    limit
        Where it tells.
    """

    accepted: float
    up: int
    limit: int

    def path(self, events: ArrayLike) -> NDArray[np.int64]:
        """Return the chart after each case, shape (n,); it starts at 0.

        Parameters
        ----------
        events
            0 or 1 (a wrong answer), shape (n,), in the order of time.
        """
        level, path = 0, []
        for event in np.asarray(events, np.int64).ravel():
            level = max(0, level + (self.up if event else -1))
            path.append(level)
        return np.array(path, np.int64)

    def alarm(self, events: ArrayLike) -> int | None:
        """Return the index of the case at which the chart first tells, None where it does not."""
        reached = np.flatnonzero(self.path(events) >= self.limit)
        return int(reached[0]) if reached.size else None

    @cached_property
    def run_length(self) -> float:
        """Mean number of cases until a false alarm, at the accepted rate."""
        return self.run_length_at(self.accepted)

    def run_length_at(self, rate: float) -> float:
        """Return the mean number of cases until the chart tells, from 0, at a rate of events."""
        return average_run_length(rate, self.up, self.limit)


def design(accepted: float, worse: float, run_length: float) -> Chart:
    """Return the chart that tells a rise from ``accepted`` to ``worse`` soonest.

    Among charts with a mean run of at least ``run_length`` cases between false alarms (Moustakides, Annals
    of Statistics 14:1379, 1986: CUSUM is optimal in this sense).

    Parameters
    ----------
    accepted, worse
        Rates, 0 < accepted < worse < 1.
    run_length
        Cases, at least 1.

    Raises
    ------
    ValueError
        The rates are not in order, or no limit up to `LARGEST_LIMIT` gives such a run length.
    """
    if not 0.0 < accepted < worse < 1.0:
        raise ValueError(f"0 < accepted < worse < 1 is needed, got {accepted} and {worse}")
    fall = np.log1p((accepted - worse) / (1.0 - accepted))  # of the log likelihood ratio, a right answer
    up = max(1, round(float(np.log(worse / accepted) / -fall)))
    low, high = 0, 1
    while average_run_length(accepted, up, high) < run_length:
        low, high = high, 2 * high
        if high > LARGEST_LIMIT:
            raise ValueError(f"no limit up to {LARGEST_LIMIT} gives a run length of {run_length:g} cases")
    while high - low > 1:
        middle = (low + high) // 2
        enough = average_run_length(accepted, up, middle) >= run_length
        low, high = (low, middle) if enough else (middle, high)
    return Chart(accepted, up, high)


def average_run_length(rate: float, up: int, limit: int) -> float:
    """Return the mean number of cases until a chart from 0 reaches ``limit``, at a rate of events.

    With E(s) the mean from level s: E(s) = 1 + rate E(s + up) + (1 - rate) E(max(s - 1, 0)), and 0 from
    the limit on (Brook & Evans, Biometrika 59:539, 1972).
    """
    if rate <= 0.0:
        return np.inf
    stay = np.eye(limit)
    for level in range(limit):
        stay[level, max(level - 1, 0)] -= 1.0 - rate
        if level + up < limit:
            stay[level, level + up] -= rate
    return float(np.linalg.solve(stay, np.ones(limit))[0])
