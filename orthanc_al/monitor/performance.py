"""How good the live model is on the studies that nobody chose, and how far readers agree with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from orthanc_al.domain import Grouping, group_of
from orthanc_al.inference.thresholds import Thresholds
from orthanc_al.ledger.learning import LabelledCase
from orthanc_al.ledger.monitoring import Point, ReadBeside
from orthanc_al.methods.automation_bias import automation_bias
from orthanc_al.methods.estimators import hajek_mean, weighted_auc, weights
from orthanc_al.monitor.watch import Head

Vector = NDArray[np.float64]

_RESAMPLES: Final = 300
_SEED: Final = 71


@dataclass(frozen=True, slots=True)
class Basis:
    """What the live package was made from, and how it ranks.

    Attributes
    ----------
    made_at
        Seconds since 1970: audits that arrived before may have had a part in it.
    thresholds, groups
        Its borders, and in each group of which studies the site asks for the guarantee.
    """

    made_at: float
    thresholds: Thresholds
    groups: Grouping

    def unseen(self, cases: Sequence[LabelledCase], *folds: str) -> NDArray[np.bool_]:
        """Return which cases can't have had a part in it by one of these folds, shape (n,)."""
        return np.array([case.arrived_at >= self.made_at or case.fold not in folds for case in cases])

    def ranks_low(self, cases: Sequence[LabelledCase], p: Vector) -> NDArray[np.bool_]:
        """Return which cases of probabilities p (n,) are ranked low: never one outside of the domain."""
        lows = [
            self.thresholds.borders(self.groups, group_of(self.groups, case.attributes))[0] for case in cases
        ]
        inside = np.array([case.ood <= 1.0 for case in cases])
        return np.asarray(inside & (p < np.array([-1.0 if low is None else low for low in lows])))


def of_audit(head: Head, cases: Sequence[LabelledCase], basis: Basis) -> list[Point]:
    """Return positive rate, sensitivity, specificity, AUC, calibration gap and misses of one finding.

    Each is Hajek's weighted mean by the logged propensities, on audits that had no part in what it speaks of:
    the gate chose the head by its fold, calibrator and operating threshold are from the fold ``calibration``,
    the low border is from ``thresholds``.

    Parameters
    ----------
    cases
        Blind audited cases of the finding, each patient once, with the fold that the patient has.
    """
    if not cases:
        return []
    p = head.probabilities(np.array([case.embedding for case in cases]))
    y = np.array([case.present for case in cases])
    pi = np.array([case.propensity for case in cases])
    flagged = p >= head.operating
    judges, calibrated = basis.unseen(cases, "gate"), basis.unseen(cases, "gate", "calibration")
    sick, well = y & calibrated, ~y & calibrated
    points = [
        _share("positive_rate", head.name, y, pi, "share of audited studies with the finding"),
        _share("sensitivity", head.name, flagged[sick], pi[sick], "at the operating threshold"),
        _share("specificity", head.name, ~flagged[well], pi[well], "at the operating threshold"),
        _gap(head.name, (p - y)[calibrated], pi[calibrated]),
        _auc(head.name, p[judges], y[judges], pi[judges]),
    ]
    if basis.thresholds.has_low:
        fresh = y & basis.unseen(cases, "thresholds")
        said = "positives that are ranked low, on audits that the border was not made from"
        points.append(_share("miss_rate", head.name, basis.ranks_low(cases, p)[fresh], pi[fresh], said))
    return [point for point in points if point is not None]


def of_readers(head: Head, reads: Sequence[ReadBeside]) -> list[Point]:
    """Return how often readers disagreed with the result in view, and whether the view made them agree."""
    own = [read for read in reads if read.finding == head.name]
    p, present, shown = (
        np.array([getattr(read, name) for read in own]) for name in ("probability", "present", "shown")
    )
    if not own:
        return []
    points = []
    differs = (p >= head.operating) != present
    if shown.any():
        seen = differs[shown]
        said = "reads with the result in view that say otherwise than the operating threshold"
        point = _share("disagreement", head.name, seen, np.ones(seen.size), said)
        points += [point] if point is not None else []
    bias = automation_bias(p, present, shown, border=head.operating)
    if bias is not None:
        points.append(
            Point(
                "automation_bias",
                bias.difference,
                bias.shown + bias.blind,
                finding=head.name,
                low=bias.low,
                high=bias.high,
                reason="agreement with the result in view less agreement without, at the same score",
            )
        )
    return points


def share_interval(successes: ArrayLike, propensities: ArrayLike) -> tuple[float, float, float]:
    """Return a weighted share with its 95 % interval: Wilson's, on Kish's effective number of cases.

    Parameters
    ----------
    successes
        0 or 1, shape (n,), n at least 1.
    propensities
        pi of each, shape (n,).
    """
    w = weights(propensities)
    share = hajek_mean(successes, propensities)
    n = float(w.sum() ** 2 / (w**2).sum())
    z = float(norm.ppf(0.975))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return share, max(0.0, middle - reach), min(1.0, middle + reach)


def _share(measure: str, finding: str, successes: NDArray[np.bool_], pi: Vector, said: str) -> Point | None:
    if not successes.size:
        return None
    share, low, high = share_interval(successes, pi)
    return Point(measure, share, int(successes.size), finding=finding, low=low, high=high, reason=said)


def _gap(finding: str, gaps: Vector, pi: Vector) -> Point | None:
    """Return the mean of probability minus truth: 0 where the model is calibrated in the large."""
    if not gaps.size:
        return None
    low, high = _bootstrap(gaps.size, lambda rows: hajek_mean(gaps[rows], pi[rows]))
    said = "mean probability less share with the finding"
    return Point(
        "calibration_gap", hajek_mean(gaps, pi), gaps.size, finding=finding, low=low, high=high, reason=said
    )


def _auc(finding: str, p: Vector, y: NDArray[np.bool_], pi: Vector) -> Point | None:
    if y.all() or not y.any():  # no case at all among them
        return None

    def auc(rows: NDArray[np.int64]) -> float:
        return weighted_auc(p[rows], y[rows], pi[rows]) if 0 < y[rows].sum() < rows.size else float("nan")

    low, high = _bootstrap(y.size, auc)
    said = "area under the ROC curve"
    return Point("auc", auc(np.arange(y.size)), y.size, finding=finding, low=low, high=high, reason=said)


def _bootstrap(size: int, of: Callable[[NDArray[np.int64]], float]) -> tuple[float | None, float | None]:
    random = np.random.default_rng(_SEED)
    found = np.array([of(random.integers(0, size, size)) for _ in range(_RESAMPLES)])
    found = found[np.isfinite(found)]
    if not found.size:
        return None, None
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
