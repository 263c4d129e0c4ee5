"""How long a study waits to be read, in closed form: M/M/c, with and without priority.

Sources: Erlang's C formula and M/M/c (Kleinrock, Queueing Systems I, 1975); non-preemptive priority on one
server (Cobham, Operations Research 2:70, 1954) and on several with one exponential reading time (Kella &
Yechiali, Naval Research Logistics 32:189, 1985); preemptive-resume priority on one server (Conway, Maxwell
& Miller, Theory of Scheduling, 1967), on several by the conservation of work; the use for triage: Thompson
et al., Queueing Systems 2024, doi 10.1007/s11134-024-09927-w (QuCAD); several findings in a hierarchy:
arXiv 2510.27104 (multi-QuCAD). Where there is no closed form, `orthanc_al.simulate` counts.

**Delay** is the time from arrival until the read is signed less the reading time itself: the wait, and with
preemption the interruptions. Rates and times are in one unit of time, minutes where a person reads them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


class Discipline(StrEnum):
    """Who is read next."""

    FIFO = "fifo"
    NON_PREEMPTIVE = "non-preemptive"
    PREEMPTIVE = "preemptive"


@dataclass(frozen=True, slots=True)
class Load:
    """What comes in and who reads.

    Attributes
    ----------
    arrival_rate
        Studies a unit of time, above 0.
    reading_time
        Mean, above 0; exponential.
    readers
        At least 1.
    """

    arrival_rate: float
    reading_time: float
    readers: int = 1

    def __post_init__(self) -> None:
        if not (self.arrival_rate > 0.0 and self.reading_time > 0.0 and self.readers >= 1):
            raise ValueError(f"rate and reading time are above 0 and there is a reader, not so in {self}")

    @property
    def utilisation(self) -> float:
        """rho: the share of their time that the readers read; the queue grows for ever from 1 on."""
        return self.arrival_rate * self.reading_time / self.readers

    def share(self, part: float) -> "Load":
        """Return the load of a share of the studies alone."""
        return Load(self.arrival_rate * part, self.reading_time, self.readers)


def erlang_c(load: Load) -> float:
    """Return the probability that a study finds all readers busy.

    Raises
    ------
    ValueError
        The queue has no steady state: the utilisation is 1 or more.
    """
    _check_steady(load)
    offered, blocked = load.arrival_rate * load.reading_time, 1.0
    for n in range(1, load.readers + 1):  # Erlang B, by the recursion that does not overflow
        blocked = offered * blocked / (n + offered * blocked)
    rho = load.utilisation
    return blocked / (1.0 - rho + rho * blocked)


def fifo_delay(load: Load) -> float:
    """Return the mean delay of M/M/c in order of arrival.

    Raises
    ------
    ValueError
        The utilisation is 1 or more.
    """
    return erlang_c(load) * load.reading_time / (load.readers * (1.0 - load.utilisation))


def class_delays(load: Load, shares: ArrayLike, discipline: Discipline) -> Vector:
    """Return the mean delay of each priority class of M/M/c, the most urgent class first.

    Parameters
    ----------
    load
        All studies together; one exponential reading time for all classes.
    shares
        Share of the studies in each class, shape (k,): not negative, they add up to 1.
    discipline
        Within a class, always in order of arrival.

    Returns
    -------
    NDArray[np.float64]
        Shape (k,). A class that nobody is in has the delay that its first study would have.

    Raises
    ------
    ValueError
        The shares are none, or the utilisation is 1 or more.
    """
    p = np.asarray(shares, np.float64)
    if p.ndim != 1 or not p.size or (p < 0.0).any() or not math.isclose(float(p.sum()), 1.0, abs_tol=1e-9):
        raise ValueError(f"shares of the classes are not negative and add up to 1, unlike {p}")
    if discipline is Discipline.FIFO:
        return np.full(p.size, fifo_delay(load))
    if discipline is Discipline.NON_PREEMPTIVE:
        return _non_preemptive(load, p)
    return _preemptive(load, p)


def mg1_class_delays(
    rates: ArrayLike, means: ArrayLike, second_moments: ArrayLike, discipline: Discipline
) -> Vector:
    """Return the mean delay of each class for one reader and any distribution of the reading time.

    Parameters
    ----------
    rates, means, second_moments
        Arrival rate, mean and mean square of the reading time of each class, shape (k,), the most urgent
        first. A second moment of 2 mean^2 is the exponential's, mean^2 a constant time's.
    discipline
        `Discipline.FIFO` is Pollaczek and Khinchine's formula.

    Raises
    ------
    ValueError
        The utilisation is 1 or more.
    """
    lam, s, s2 = (np.asarray(one, np.float64) for one in (rates, means, second_moments))
    busy = np.cumsum(lam * s)  # sigma_k
    if busy[-1] >= 1.0:
        raise ValueError(f"the reader is asked for {busy[-1]:.3f} of her time: the queue grows for ever")
    before = np.concatenate([[0.0], busy[:-1]])  # sigma_{k-1}
    residual = np.cumsum(lam * s2) / 2.0
    if discipline is Discipline.FIFO:
        return np.full(lam.size, residual[-1] / (1.0 - busy[-1]))
    if discipline is Discipline.NON_PREEMPTIVE:
        return np.asarray(residual[-1] / ((1.0 - before) * (1.0 - busy)))
    # The time in the system, less the reading time: what interrupts the read is delay too.
    return np.asarray(s * before / (1.0 - before) + residual / ((1.0 - before) * (1.0 - busy)))


@dataclass(frozen=True, slots=True)
class FindingPoint:
    """A finding that a model looks for, and where it operates.

    Attributes
    ----------
    prevalence
        Share of the studies that have it, in [0, 1].
    sensitivity, specificity
        Of the flag, in [0, 1].
    """

    name: str
    prevalence: float
    sensitivity: float
    specificity: float

    def __post_init__(self) -> None:
        if not all(0.0 <= one <= 1.0 for one in (self.prevalence, self.sensitivity, self.specificity)):
            raise ValueError(f"prevalence, sensitivity and specificity are between 0 and 1, not so in {self}")


@dataclass(frozen=True, slots=True)
class Saving:
    """Minutes that a group of studies is read earlier than in order of arrival; below 0: later.

    Attributes
    ----------
    group
        Name of a finding that the studies have, or ``others``.
    share
        Of all studies.
    before, after
        Mean delay in order of arrival, and with the flags.
    """

    group: str
    share: float
    before: float
    after: float

    @property
    def saved(self) -> float:
        """How much earlier."""
        return self.before - self.after


OTHERS = "others"
"""Who has none of the findings; their delay is always reported too."""


def class_probabilities(findings: Sequence[FindingPoint], *, hierarchical: bool = True) -> Vector:
    """Return P(class | what the study has), a row for each of k findings and one for none of them.

    A study has at most one of the findings, and each flag depends on its own finding alone. A finding that
    no model looks for has sensitivity 0 and specificity 1: it is among those who may be delayed.

    Parameters
    ----------
    findings
        The hierarchy, the most urgent first.
    hierarchical
        The class is that of the first flag in their order, else all flags are one class.

    Returns
    -------
    NDArray[np.float64]
        Shape (k + 1, k + 1), or (k + 1, 2) where it is not hierarchical; the last class has no flag.

    Raises
    ------
    ValueError
        The prevalences add up to more than 1.
    """
    k = len(findings)
    if sum(one.prevalence for one in findings) > 1.0 + 1e-12:
        raise ValueError("a study has at most one of the findings: their prevalences add up to at most 1")
    flag = np.tile([1.0 - one.specificity for one in findings], (k + 1, 1))
    flag[np.arange(k), np.arange(k)] = [one.sensitivity for one in findings]
    unflagged = np.cumprod(np.concatenate([np.ones((k + 1, 1)), 1.0 - flag], axis=1), axis=1)
    flagged = unflagged[:, :-1] * flag
    if not hierarchical:
        flagged = flagged.sum(1, keepdims=True)
    return np.concatenate([flagged, unflagged[:, -1:]], axis=1)


def savings(
    load: Load, findings: Sequence[FindingPoint], discipline: Discipline, *, hierarchical: bool = True
) -> tuple[Saving, ...]:
    """Return what the flags save those with each finding, in its order, and cost the others, who come last.

    Parameters
    ----------
    load
        All studies.
    findings
        The hierarchy: the most urgent first.
    discipline
        What a flag does.
    hierarchical
        As for `class_probabilities`.

    Raises
    ------
    ValueError
        There is no steady state, or the prevalences add up to more than 1.
    """
    prevalence = np.array([one.prevalence for one in findings])
    shares = np.append(prevalence, 1.0 - prevalence.sum())
    given = class_probabilities(findings, hierarchical=hierarchical)
    after = given @ class_delays(load, shares @ given, discipline)
    before = fifo_delay(load)
    names = [*(one.name for one in findings), OTHERS]
    return tuple(
        Saving(name, float(share), before, float(mean))
        for name, share, mean in zip(names, shares, after, strict=True)
    )


def _non_preemptive(load: Load, shares: Vector) -> Vector:
    busy = np.cumsum(shares) * load.utilisation
    before = np.concatenate([[0.0], busy[:-1]])
    # erlang_c * reading_time / readers: the mean time until a reader gets free, where all are busy.
    return np.asarray(erlang_c(load) * load.reading_time / load.readers / ((1.0 - before) * (1.0 - busy)))


def _preemptive(load: Load, shares: Vector) -> Vector:
    """Return delays by conservation: the first k classes together never see the ones behind them."""
    _check_steady(load)
    upto = np.cumsum(shares)
    waiting = np.array([part * fifo_delay(load.share(part)) if part > 0.0 else 0.0 for part in upto])
    own = np.diff(waiting, prepend=0.0)
    delays = np.empty(shares.size)
    for k, share in enumerate(shares):
        if share > 0.0:
            delays[k] = own[k] / share
        else:  # of a class that is as good as empty: the limit
            step = 1e-7
            above = (upto[k] + step) * fifo_delay(load.share(upto[k] + step))
            delays[k] = (above - waiting[k]) / step
    return delays


def _check_steady(load: Load) -> None:
    if load.utilisation >= 1.0:
        raise ValueError(
            f"the readers are asked for {load.utilisation:.3f} of their time: the queue grows for ever"
        )
