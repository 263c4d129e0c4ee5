"""The rules of selection, without a ledger: who is audited, who is asked, and with what probability."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from orthanc_al.methods import audit
from orthanc_al.methods.acquisition import (
    DiversePowerMargin,
    PowerMargin,
    Random,
    Scoring,
    TopRisk,
    threshold_for,
)
from orthanc_al.methods.delong import delong_covariance
from orthanc_al.select.batch import ENOUGH_POSITIVES, RISK_SHARE, TRUSTED_POSITIVES

WEAK_AUC: Final = 0.7
"""A head whose audited AUC is surely below this one chooses worse than chance would."""

GROSS: Final = 1.5
"""Distance over the domain's limit above which a label would teach nothing: junk, not a new scanner."""


@dataclass(frozen=True, slots=True)
class Case:
    """A scored study, as selection sees it.

    Attributes
    ----------
    probabilities
        Of its findings, at least one.
    ood
        Distance over the domain's limit.
    embedding
        What the network saw of it, shape (d,).
    scanner
        What it was taken with; empty where nothing tells.
    """

    study_instance_uid: str
    probabilities: tuple[float, ...]
    ood: float
    embedding: tuple[float, ...] = ()
    scanner: str = ""

    @property
    def askable(self) -> bool:
        """Whether it is a film that a label would teach something of."""
        return self.ood <= GROSS

    def probability_for(self, strategy: Scoring) -> float:
        """Return the probability of the finding that speaks most for asking."""
        if isinstance(strategy, TopRisk):
            return max(self.probabilities)
        return min(self.probabilities, key=lambda p: abs(p - 0.5))


@dataclass(frozen=True, slots=True)
class Known:
    """What bears on how to choose, beside the pool.

    Attributes
    ----------
    positives
        Confirmed so far.
    weak
        Whether the head's audited AUC is known to be poor.
    """

    positives: int
    weak: bool


@dataclass(frozen=True, slots=True)
class Channel:
    """A strategy and the share of studies that it may flag."""

    strategy: Scoring
    share: float


@dataclass(frozen=True, slots=True)
class Query:
    """A study to be asked about.

    Attributes
    ----------
    score
        g of the strategy that flagged it.
    weight
        q: probability, over the noise, of being flagged by any of the channels.
    """

    study_instance_uid: str
    strategy: str
    score: float
    weight: float
    reason: str


def channels(share: float, known: Known) -> tuple[Channel, ...]:
    """Return which strategies flag which share of the studies that come.

    Parameters
    ----------
    share
        Flags wanted a study, in [0, 1].
    """
    positives = known.positives
    if known.weak and positives < TRUSTED_POSITIVES:
        return (Channel(Random(), share),)
    if positives < ENOUGH_POSITIVES:
        return (Channel(PowerMargin(), (1.0 - RISK_SHARE) * share), Channel(TopRisk(), RISK_SHARE * share))
    return (Channel(PowerMargin(), share),)


def query_share(budget: int, audit_fraction: float, expected: float, pi: float) -> float:
    """Return the share of studies to flag, so that a day's flags equal what audits leave of the budget.

    Audits are drawn first, so flags come from the share 1 - ``pi`` of the ``expected`` studies a day.
    """
    wanted = budget * (1.0 - audit_fraction)
    rest = expected * (1.0 - pi)
    if wanted <= 0.0 or rest <= 0.0:
        return 0.0
    return min(1.0, wanted / rest)


def is_weak(scores: Sequence[float], present: Sequence[bool]) -> bool:
    """Whether the audit shows, at 95 %, that the AUC is below `WEAK_AUC`; False where it can't tell."""
    labels = np.asarray(present, np.int64)
    if min(labels.sum(), (1 - labels).sum()) < 2:
        return False
    area, variance = delong_covariance(np.asarray([scores], np.float64), labels)
    return bool(area[0] + norm.ppf(0.95) * np.sqrt(variance[0, 0]) < WEAK_AUC)


def ask_on_arrival(case: Case, recent: Sequence[Case], plan: Sequence[Channel], seed: str) -> Query | None:
    """Return the query where the case is above a channel's threshold, which its recent peers set.

    Parameters
    ----------
    case
        The study that has just been scored.
    recent
        The studies that came before it; those that can't be asked are left out here.
    plan
        From :func:`channels`.
    seed
        The site's.
    """
    if not case.askable:
        return None
    peers = [peer for peer in recent if peer.askable]
    noise = [_noise(seed, peer.study_instance_uid) for peer in peers]
    own_noise = [_noise(seed, case.study_instance_uid)]
    flagged: Query | None = None
    spared = 1.0
    for channel in plan:
        threshold = threshold_for(_scores(channel.strategy, peers, noise), channel.share)
        score = float(_scores(channel.strategy, [case], own_noise)[0])
        spared *= 1.0 - _chance(channel.strategy, case, threshold)
        if score > threshold and flagged is None:
            flagged = _query(case, channel.strategy, score, 0.0)
    return None if flagged is None else replace(flagged, weight=1.0 - spared)


def digest(cases: Sequence[Case]) -> str:
    """Return the SHA-256 of what a threshold was taken from."""
    lines = sorted(f"{case.study_instance_uid} {case.probabilities!r} {case.ood!r}" for case in cases)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@lru_cache(maxsize=4096)
def _noise(seed: str, study_instance_uid: str) -> float:
    """Return the noise of a study on its arrival: always the same, and it is a peer of a thousand others."""
    return audit.uniform(seed, "query", "arrival", study_instance_uid)


def _scores(strategy: Scoring, cases: Sequence[Case], noise: Sequence[float]) -> NDArray[np.float64]:
    return strategy.score([case.probability_for(strategy) for case in cases], noise)


def _chance(strategy: Scoring, case: Case, threshold: float) -> float:
    return float(strategy.chance([case.probability_for(strategy)], threshold)[0])


def _query(case: Case, strategy: Scoring, score: float, weight: float) -> Query:
    p = case.probability_for(strategy)
    return Query(case.study_instance_uid, strategy.name, score, weight, REASONS[strategy.name].format(p=p))


REASONS: Final = {
    PowerMargin.name: "the model is unsure of it ({p:.2f})",
    DiversePowerMargin.name: "the model is unsure of it ({p:.2f}), and it is unlike the others asked",
    TopRisk.name: "among the likeliest of the last days ({p:.2f})",
    Random.name: "drawn at random: the model's own judgement is not to be trusted yet",
}
