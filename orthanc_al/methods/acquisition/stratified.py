"""Sampling over the range of the scores: the baselines that matter."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from orthanc_al.methods.acquisition.protocol import Indices, Pool


@dataclass(frozen=True, slots=True)
class StratifiedQuantiles:
    """One study of each of ``count`` groups of neighbours by score, the groups of one size."""

    name: ClassVar[str] = "stratified_quantiles"

    def choose(self, pool: Pool, count: int) -> Indices:
        """Return one row of each group, from the highest scores down."""
        order = np.argsort(-pool.logits, kind="stable")
        groups = np.array_split(order, min(count, len(pool))) if count and len(pool) else []
        return np.array([group[np.argmax(pool.uniforms[group])] for group in groups], np.intp)


@dataclass(frozen=True, slots=True)
class StratifiedProbability:
    """Round about over bins of p of equal width: rare scores are taken as often as frequent ones.

    With few positives most bins hold few studies, so this takes the uncertain and the likely ones nearly
    all: it has most of the gain that uncertainty has.

    Attributes
    ----------
    bins
        How many in [0, 1].
    """

    bins: int = 10
    name: ClassVar[str] = "strat_p"

    def choose(self, pool: Pool, count: int) -> Indices:
        """Return rows by turns of the bins that hold any; within a bin noise decides."""
        place = np.minimum((pool.probabilities * self.bins).astype(np.int64), self.bins - 1)
        turn = np.empty(len(pool), np.int64)
        for number in range(self.bins):
            rows = np.flatnonzero(place == number)
            turn[rows[np.argsort(-pool.uniforms[rows], kind="stable")]] = np.arange(len(rows))
        # Within a turn the bins come in random order, so that a batch smaller than the bins favours none.
        return np.asarray(np.lexsort((pool.uniforms, turn))[:count], np.intp)
