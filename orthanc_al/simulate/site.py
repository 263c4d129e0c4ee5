"""The site's own reading room, from what its ledger recorded."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby, pairwise
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from orthanc_al.domain import Tier
from orthanc_al.ledger.reading_room import PlacedAudit, Signed
from orthanc_al.methods.queueing import OTHERS
from orthanc_al.simulate.room import Population

LEAST_DAYS: Final = 5
LEAST_READS: Final = 30
LEAST_AUDITS: Final = 20
"""Audited studies with and without a finding that a population takes."""

LONGEST_READ: Final = 60.0
"""Minutes: what lies longer between two signatures was a pause."""

_TIERS: Final = (Tier.HIGH, Tier.REVIEW, Tier.NONE, Tier.LOW)


def days_of(arrivals: Sequence[float], zone: ZoneInfo, today: date) -> tuple[NDArray[np.float64], ...]:
    """Return each whole day between the first arrival's and today, neither of which is one.

    Parameters
    ----------
    arrivals
        Seconds since 1970, in order.
    zone
        The site's: a day begins at its midnight.

    Returns
    -------
    tuple[NDArray[np.float64], ...]
        Minutes since midnight; a day on which nothing came is there, and empty.
    """
    by_day: dict[date, list[float]] = {}
    for seconds in arrivals:
        local = datetime.fromtimestamp(seconds, zone)
        by_day.setdefault(local.date(), []).append(local.hour * 60 + local.minute + local.second / 60)
    if not by_day:
        return ()
    count = (today - min(by_day)).days - 1
    return tuple(
        np.sort(np.array(by_day.get(min(by_day) + timedelta(days=n + 1), []), np.float64))
        for n in range(max(0, count))
    )


def reading_times(signed: Iterable[Signed], longest: float = LONGEST_READ) -> NDArray[np.float64]:
    """Return how long reads took, in minutes: from a reader's last signature to her next.

    A gap counts where the study that was signed lay there before the last signature, so that the reader had
    no reason to wait, and where it is at most ``longest`` minutes.
    """
    taken = []
    for _, own in groupby(sorted(signed, key=lambda one: (one.reader, one.at)), key=lambda one: one.reader):
        for before, one in pairwise(own):
            gap = (one.at - before.at) / 60.0
            if one.arrived_at <= before.at and 0.0 < gap <= longest:
                taken.append(gap)
    return np.array(taken)


def readers_at_work(signed: Iterable[Signed]) -> int:
    """Return how many readers sign in an hour in which anybody does, on the mean and at least 1."""
    by_hour: dict[int, set[str]] = {}
    for one in signed:
        by_hour.setdefault(int(one.at // 3600), set()).add(one.reader)
    return max(1, round(sum(map(len, by_hour.values())) / len(by_hour))) if by_hour else 1


def population_of(audits: Iterable[PlacedAudit]) -> Population | None:
    """Return the population that the audit drew, each study weighed by 1 / pi; None where it is too small.

    A study belongs to the first of its findings by name, has the earliest of its targets and the most urgent
    of its tiers.
    """
    studies = [
        list(own)
        for _, own in groupby(
            sorted(audits, key=lambda one: one.study_instance_uid), key=lambda one: one.study_instance_uid
        )
    ]
    names = sorted({one.finding for study in studies for one in study if one.present})
    groups = (*names, OTHERS)
    group = np.array([_group(study, groups) for study in studies], np.int64)
    negatives = int((group == len(names)).sum())
    if group.size - negatives < LEAST_AUDITS or negatives < LEAST_AUDITS:
        return None
    tier = np.array([min(_TIERS.index(one.tier) for one in study) for study in studies], np.int64)
    return Population(
        groups=groups,
        tiers=tuple(one.value for one in _TIERS),
        group=group,
        tier=tier,
        target=np.array([min(one.target_minutes for one in study) for study in studies]),
        weight=np.array([1.0 / study[0].propensity for study in studies]),
    )


def _group(study: Sequence[PlacedAudit], groups: tuple[str, ...]) -> int:
    return min((groups.index(one.finding) for one in study if one.present), default=len(groups) - 1)
