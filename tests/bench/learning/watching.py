"""Days until drift is told, and the reading-queue simulator against its closed forms."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from orthanc_al.methods.drift import energy, kolmogorov_smirnov
from orthanc_al.methods.queueing import Discipline, Load, class_delays
from orthanc_al.simulate.queue import delays
from tests.bench.learning.world import Hospital

STUDIES_A_DAY: Final = 40
ALPHA: Final = 0.001
MOST_DAYS: Final = 10
SHARES: Final = (0.0, 0.1, 0.25, 0.5, 1.0)
QUEUE_SEEDS: Final = 20
_STUDIES: Final = 30_000


@dataclass(frozen=True)
class Delays:
    """Days until an alarm of embeddings or of scores, shape (repeats,), by share from the new scanner.

    `MOST_DAYS` + 1 where there was none.
    """

    days: dict[float, np.ndarray]


def drift_delays(of: Hospital, plain: np.ndarray, repeats: int = 20) -> Delays:
    """Let a share of each day's studies come from the setting's scanner, the others from the old one.

    Parameters
    ----------
    plain
        Embeddings of the same site by the old scanner, shape (n, d).
    """
    rng = np.random.default_rng(51)
    head = of.factory.head
    found = {}
    for share in SHARES:
        days = []
        for _ in range(repeats):
            order = rng.permutation(len(plain))
            many = min(500, len(plain) // 2)
            reference, rest = plain[order[:many]], order[many:]
            days.append(
                _first_alarm(reference, plain[rest], of.site.embeddings[rest], share, head.logits, rng)
            )
        found[share] = np.array(days)
    return Delays(found)


def _first_alarm(reference, old, new, share, logits, rng) -> int:  # type: ignore[no-untyped-def]
    for day in range(1, MOST_DAYS + 1):
        rows = rng.integers(len(old), size=STUDIES_A_DAY)
        moved = rng.random(STUDIES_A_DAY) < share
        today = np.where(moved[:, np.newaxis], new[rows], old[rows])
        seen = energy(reference, today).p_value, kolmogorov_smirnov(logits(reference), logits(today)).p_value
        if min(seen) <= ALPHA:
            return day
    return MOST_DAYS + 1


@dataclass(frozen=True)
class Queue:
    """Mean delay in minutes of one class under one rule: in closed form, and simulated with its SE."""

    rule: str
    who: str
    exact: float
    simulated: float
    error: float

    @property
    def agrees(self) -> bool:
        """Whether they are within 2 % or three standard errors."""
        return abs(self.simulated - self.exact) <= max(0.02 * self.exact, 3.0 * self.error)


def queue(seeds: int = QUEUE_SEEDS, studies: int = _STUDIES) -> list[Queue]:
    """Simulate the reference room: one reader, 10 minutes a read, rho .8, a tenth in the first class."""
    load, urgent = Load(0.08, 10.0), 0.1
    names = {Discipline.FIFO: "order of arrival", Discipline.NON_PREEMPTIVE: "priority"}
    names[Discipline.PREEMPTIVE] = "preemptive priority"
    rows = []
    for rule, name in names.items():
        exact = class_delays(load, [urgent, 1.0 - urgent], rule)
        seen = np.array([_one_run(load, urgent, rule, studies, seed) for seed in range(seeds)])
        for number, who in enumerate(("urgent", "others")):
            mean, error = seen[:, number].mean(), seen[:, number].std(ddof=1) / np.sqrt(seeds)
            rows.append(Queue(name, who, float(exact[number]), float(mean), float(error)))
    return rows


def _one_run(load: Load, urgent: float, rule: Discipline, studies: int, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng((seed, 61))
    arrivals = np.cumsum(rng.exponential(1.0 / load.arrival_rate, studies))
    reading = rng.exponential(load.reading_time, studies)
    others = (rng.random(studies) >= urgent).astype(np.float64)
    keys = np.zeros(studies) if rule is Discipline.FIFO else others
    waited = delays(arrivals, reading, keys, load.readers, preemptive=rule is Discipline.PREEMPTIVE)
    counted = np.arange(studies) >= studies // 20  # the room was empty in the morning
    return float(waited[counted & (others == 0)].mean()), float(waited[counted & (others == 1)].mean())
