"""Minutes saved for those with a finding, lost for the others, by tier and by hour, with intervals."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from orthanc_al.simulate.queue import delays
from orthanc_al.simulate.room import DAY_MINUTES, Population, Rule, Traffic

Vector = NDArray[np.float64]
Numbers = NDArray[np.int64]

ALL: Final = "all"
WARM_UP: Final = 0.1
"""Share of the simulated time, at its start, that is not counted: the room opens empty."""

_ANY: Final = -1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over independent runs with its 95 % interval (Student's t); NaN where nobody was counted."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """What the rule does to some of the studies, in minutes.

    Attributes
    ----------
    who
        A finding, ``others``, ``all``, a tier, or an hour of the day.
    studies
        How many of them a day, on the mean.
    before, after
        Delay in order of arrival, and by the rule.
    saved
        Paired, run by run; below 0: they wait longer.
    late_before, late_after
        Share that is read later than its target.
    """

    who: str
    studies: float
    before: Estimate
    after: Estimate
    saved: Estimate
    late_before: Estimate
    late_after: Estimate


@dataclass(frozen=True, slots=True)
class Answer:
    """The whole answer.

    Attributes
    ----------
    groups
        Each finding, the others, and all. The others' loss is always among it.
    tiers
        By the class that the model put them into.
    hours
        By hour of arrival: for each group that has a finding, and the others.
    """

    rule: Rule
    readers: int
    utilisation: float
    days: int
    runs: int
    groups: tuple[Line, ...]
    tiers: tuple[Line, ...]
    hours: dict[str, tuple[Line, ...]]

    def line(self, who: str) -> Line:
        """Return the line of a group."""
        return next(line for line in self.groups if line.who == who)


@dataclass(frozen=True, slots=True)
class _Run:
    group: Numbers
    tier: Numbers
    hour: Numbers
    before: Vector
    after: Vector
    target: Vector

    def of(self, group: int, tier: int, hour: int) -> NDArray[np.bool_]:
        """Return which studies belong; `_ANY` asks for nothing."""
        belongs = np.ones(self.group.size, np.bool_)
        for wanted, own in ((group, self.group), (tier, self.tier), (hour, self.hour)):
            if wanted != _ANY:
                belongs &= own == wanted
        return belongs


def answer(
    traffic: Traffic,
    population: Population,
    rule: Rule,
    *,
    days: int = 14,
    runs: int = 20,
    seed: int = 0,
    on_progress: Callable[[], object] = lambda: None,
) -> Answer:
    """Simulate the room in order of arrival and by the rule, on the same studies and reads.

    Parameters
    ----------
    days
        Of each run, at least 1.
    runs
        Independent ones, at least 2: the intervals are over them.
    seed
        Of the first; the same seed gives the same answer.
    on_progress
        Called after each run.

    Raises
    ------
    ValueError
        Too few days or runs, or nothing arrived in any run.
    """
    if days < 1 or runs < 2:
        raise ValueError("at least one day and two runs are simulated")
    done = []
    for number in range(runs):
        done.append(_run(traffic, population, rule, days, np.random.default_rng([seed, number])))
        on_progress()
    if not sum(run.before.size for run in done):
        raise ValueError("nothing arrives in the time that is simulated")

    def line(who: str, *, group: int = _ANY, tier: int = _ANY, hour: int = _ANY) -> Line:
        chosen = [(run, run.of(group, tier, hour)) for run in done]
        return _line(who, chosen, days * (1.0 - WARM_UP))

    return Answer(
        rule=rule,
        readers=traffic.readers,
        utilisation=traffic.utilisation,
        days=days,
        runs=runs,
        groups=(*(line(name, group=n) for n, name in enumerate(population.groups)), line(ALL)),
        tiers=tuple(line(name, tier=n) for n, name in enumerate(population.tiers)),
        hours={
            name: tuple(line(f"{hour:02d}", group=n, hour=hour) for hour in range(24))
            for n, name in enumerate(population.groups)
        },
    )


def _run(
    traffic: Traffic, population: Population, rule: Rule, days: int, random: np.random.Generator
) -> _Run:
    arrivals = traffic.arrivals.draw(random, days)
    reading = traffic.reading.draw(random, arrivals.size)
    kinds = population.draw(random, arrivals.size)
    tier, target = population.tier[kinds], population.target[kinds]
    before = delays(arrivals, reading, Rule.FIFO.keys(arrivals, tier, target), traffic.readers)
    after = delays(
        arrivals,
        reading,
        rule.keys(arrivals, tier, target),
        traffic.readers,
        preemptive=rule is Rule.PREEMPTIVE,
    )
    counted = arrivals >= WARM_UP * days * DAY_MINUTES
    return _Run(
        group=population.group[kinds][counted],
        tier=tier[counted],
        hour=(arrivals[counted] % DAY_MINUTES // 60.0).astype(np.int64),
        before=before[counted],
        after=after[counted],
        target=target[counted],
    )


def _line(who: str, chosen: list[tuple[_Run, NDArray[np.bool_]]], days: float) -> Line:
    def means(of: Callable[[_Run], NDArray[Any]]) -> Estimate:
        values = [of(run)[belongs] for run, belongs in chosen]
        return estimate(np.array([one.mean() for one in values if one.size]))

    return Line(
        who=who,
        studies=float(sum(belongs.sum() for _, belongs in chosen)) / len(chosen) / days,
        before=means(lambda run: run.before),
        after=means(lambda run: run.after),
        saved=means(lambda run: run.before - run.after),
        late_before=means(lambda run: run.before > run.target),
        late_after=means(lambda run: run.after > run.target),
    )


def estimate(values: Vector) -> Estimate:
    """Return the mean of independent values, shape (n,), with its interval; endless where n is 1."""
    if not values.size:
        return Estimate(float("nan"), float("nan"), float("nan"))
    mean = float(values.mean())
    if values.size == 1:
        return Estimate(mean, float("-inf"), float("inf"))
    reach = float(student.ppf(0.975, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size))
    return Estimate(mean, mean - reach, mean + reach)
