"""How good the live model is on the studies that nobody chose, and how far readers agree with it."""

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from orthanc_al.ledger.learning import LabelledCase
from orthanc_al.ledger.monitoring import Point, ReadBeside
from orthanc_al.methods.automation_bias import automation_bias
from orthanc_al.methods.estimators import hajek_mean, weighted_auc, weights
from orthanc_al.monitor.watch import Head

Vector = NDArray[np.float64]

_RESAMPLES: Final = 300
_SEED: Final = 71


def of_audit(head: Head, cases: Sequence[LabelledCase]) -> list[Point]:
    """Return positive rate, sensitivity, specificity, AUC, calibration gap and misses of one finding.

    Each is Hajek's weighted mean by the logged propensities. The misses are counted on audits that the low
    border was not made from (fold ``thresholds``).

    Parameters
    ----------
    cases
        Blind audited cases of the finding, each patient once.
    """
    if not cases:
        return []
    p = head.probabilities(np.array([case.embedding for case in cases]))
    y = np.array([case.present for case in cases])
    pi = np.array([case.propensity for case in cases])
    flagged = p >= head.operating
    points = [
        _share("positive_rate", head.name, y, pi, "share of audited studies with the finding"),
        _share("sensitivity", head.name, flagged[y], pi[y], "at the operating threshold"),
        _share("specificity", head.name, ~flagged[~y], pi[~y], "at the operating threshold"),
        _gap(head.name, p - y, pi),
        _auc(head.name, p, y, pi),
    ]
    if head.low is not None:
        fresh = y & np.array([case.fold != "thresholds" for case in cases])
        said = "positives that are ranked low, on audits that the border was not made from"
        points.append(_share("miss_rate", head.name, (p < head.low)[fresh], pi[fresh], said))
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
    low, high = _bootstrap(gaps.size, lambda rows: hajek_mean(gaps[rows], pi[rows]))
    said = "mean probability less share with the finding"
    return Point(
        "calibration_gap", hajek_mean(gaps, pi), gaps.size, finding=finding, low=low, high=high, reason=said
    )


def _auc(finding: str, p: Vector, y: NDArray[np.bool_], pi: Vector) -> Point | None:
    if y.all() or not y.any():
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
