"""Which of a pool are asked about together: quota of risk, then doubt with diversity, under caps."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orthanc_al.methods.acquisition import (
    DiversePowerMargin,
    Pool,
    PowerMargin,
    Random,
    Strategy,
    TopRisk,
    best,
)
from orthanc_al.methods.acquisition.diverse_power_margin import CANDIDATES, spread
from orthanc_al.methods.acquisition.protocol import Indices

ENOUGH_POSITIVES: Final = 20
"""Confirmed positives at which nothing is asked for its risk alone any more."""

TRUSTED_POSITIVES: Final = 10
"""Confirmed positives from which the head is ours enough to be trusted with choosing."""

RISK_SHARE: Final = 0.1
"""Share of the queries that goes to the likeliest positives while positives are few."""

GROUP_SHARE: Final = 0.5
"""Most of a batch that one scanner may have where there are several."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A row of the pool and the strategy that took it."""

    row: int
    strategy: Strategy


def choose(
    pool: Pool,
    count: int,
    *,
    positives: int,
    weak: bool,
    groups: Sequence[Hashable] = (),
    risks: NDArray[np.float64] | None = None,
) -> list[Chosen]:
    """Return ``count`` rows of the pool, or all.

    Parameters
    ----------
    positives
        Confirmed so far.
    weak
        Whether the head is missing, or its audited AUC known to be poor: then chance chooses until
        :data:`TRUSTED_POSITIVES`.
    groups
        Of each row: its scanner. Empty where it is not known.
    risks
        Highest probability of each row's findings, where there are several; the pool's by default.
    """
    if weak and positives < TRUSTED_POSITIVES:
        return [Chosen(int(row), Random()) for row in Random().choose(pool, count)]
    quota = round(RISK_SHARE * count) if positives < ENOUGH_POSITIVES else 0
    risky = best(pool.logits if risks is None else risks, pool.uniforms, quota)
    doubt = DiversePowerMargin()
    return [
        *(Chosen(int(row), TopRisk()) for row in risky),
        *(Chosen(int(row), doubt) for row in _doubtful(pool, count - len(risky), risky, groups)),
    ]


def _doubtful(pool: Pool, count: int, risky: Indices, groups: Sequence[Hashable]) -> Indices:
    """Return the diverse ones of the best candidates by power margin, none of them risky ones."""
    rest = np.setdiff1d(np.arange(len(pool)), risky)
    candidates = rest[PowerMargin().choose(pool.rows(rest), CANDIDATES * count)]
    rows = np.concatenate([candidates, risky])
    own = [groups[row] for row in rows] if len(groups) else []
    most = math.ceil(GROUP_SHARE * count) if len(set(groups)) > 1 else None
    taken = range(len(candidates), len(rows))
    return np.asarray(rows[spread(pool.rows(rows), count, own, most, taken)], np.intp)
