"""The table of bars: each measure, its bar, what was seen, and whether it holds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tests.bench.learning.calibration import DELTA, RESAMPLES, Calibration, Guarantee
from tests.bench.learning.creep import RULES, Creep
from tests.bench.learning.curves import REFERENCE, Curves
from tests.bench.learning.estimates import Bias
from tests.bench.learning.service_rule import ServiceRule
from tests.bench.learning.statistics import Estimate, first_at, mean_of, median_of, over_seeds
from tests.bench.learning.watching import MOST_DAYS, STUDIES_A_DAY, Delays, Queue

OURS: Final = ServiceRule.name
WARM: Final = ("M", "H")


@dataclass(frozen=True)
class Bar:
    """A line of the table; ``holds`` is None where it has no bar."""

    measure: str
    bar: str
    seen: str
    holds: bool | None


@dataclass(frozen=True)
class Measured:
    """Everything that was measured.

    Attributes
    ----------
    factory
        AUC of the factory's heads by look, with intervals.
    guarantees
        By setting, one for each number of audits.
    head_fit
        Times of scikit-learn's one fit: our average over 15 priors, shape (rounds,).
    """

    training_seconds: float
    factory: Mapping[str, Estimate]
    curves: Mapping[str, Curves]
    calibrations: Mapping[str, Calibration]
    guarantees: Mapping[str, Sequence[Guarantee]]
    biases: Mapping[str, Bias]
    creep: Creep
    head_fit: np.ndarray
    drift: Delays
    queue: Sequence[Queue]


def table(of: Measured) -> list[Bar]:
    """Return the lines in the order of the method's table."""
    warm = [name for name in (*WARM, "N") if name in of.curves]
    return [
        *_factory(of),
        *(line for name in warm for line in _labels(name, of.curves[name])),
        *(line for name in warm for line in _area(name, of.curves[name])),
        *_hard(of.curves),
        *_safety(of.curves),
        *(line for name, one in of.calibrations.items() for line in _calibration(name, one)),
        *(line for name, many in of.guarantees.items() for line in _guarantee(name, many)),
        *(line for name, one in of.biases.items() for line in _bias(name, one)),
        _creep(of.creep),
        *(line for line in _drift(of.drift)),
        *(line for line in _queue(of.queue)),
        *([_head_fit(of.head_fit)] if len(of.head_fit) else []),
    ]


def _factory(of: Measured) -> Iterator[Bar]:
    bars = {"plain": 0.98, "S2": 0.985, "S4": 0.97}
    for look, bar in bars.items():
        seen = of.factory[look]
        text = "held-out patients" if look == "plain" else f"zero-shot {look}"
        yield Bar(f"factory AUC, {text}", f">= {bar}", _text(seen, 4), seen.value >= bar)
    yield Bar("factory training", "<= 600 s", f"{of.training_seconds:.0f} s", of.training_seconds <= 600)


def _labels(name: str, curves: Curves) -> Iterator[Bar]:
    mine = curves.aucs[OURS]
    to_random = first_at(mine, curves.aucs[REFERENCE][:, -1], curves.labels)
    held = to_random.value <= 40 and to_random.high <= 90
    yield Bar(
        f"{name}: labels to random's AUC at {curves.labels[-1]}",
        "<= 40, upper <= 90",
        _count(to_random),
        held,
    )
    to_whole = first_at(mine, curves.whole - 0.005, curves.labels)
    most = 0.08 * curves.pool
    yield Bar(
        f"{name}: labels to the full pool's AUC - .005 (pool {curves.pool:.0f})",
        f"<= {most:.0f} (8 %)",
        _count(to_whole),
        to_whole.value <= most,
    )
    at = _at_100(curves)
    ratio = over_seeds(
        lambda rows: float((1 - mine[rows, at]).mean() / (1 - curves.whole[rows]).mean()), curves.seeds
    )
    yield Bar(
        f"{name}: (1 - AUC) / that of the full pool at {curves.labels[at]} labels",
        "<= 1.10",
        _text(ratio, 2),
        ratio.value <= 1.10,
    )


def _area(name: str, curves: Curves) -> Iterator[Bar]:
    for against, least in (("random", 0.004), ("strat_p", 0.0)):
        seen = median_of(curves.aulc(OURS) - curves.aulc(against))
        held = seen.value >= least and seen.low > 0.0
        yield Bar(f"{name}: AULC against {against}", f">= {least:+.3f}, lower > 0", _text(seen, 4, "+"), held)


def _hard(curves: Mapping[str, Curves]) -> Iterator[Bar]:
    bars = {"H copies": -0.004, "H junk": 0.0, "H cold": -0.004, "V": -0.01, "V cold": -0.01}
    for name, least in bars.items():
        if name not in curves:
            continue
        one = curves[name]
        seen = median_of(one.aulc(OURS) - one.aulc("random"))
        yield Bar(
            f"{name}: AULC against random", f"lower > {least:+.3f}", _text(seen, 4, "+"), seen.low > least
        )


def _safety(curves: Mapping[str, Curves]) -> Iterator[Bar]:
    for name in WARM:
        one, at = curves[name], _at_100(curves[name])
        mine, chance = one.aucs[OURS][:, at].min(), one.aucs["random"][:, at].min()
        text = f"{mine:.4f} against {chance:.4f}"
        yield Bar(
            f"{name}: worst seed at {one.labels[at]} labels", ">= random's worst", text, bool(mine >= chance)
        )
    one = curves["H"]
    for who, bar in ((OURS, 0.01), ("random", None)):
        below = one.aucs[who][:, 1:] < one.aucs[who][:, :1] - 0.01
        seen = mean_of(below.mean(1))
        held = None if bar is None else seen.value <= bar
        yield Bar(
            f"H: points more than .01 below the factory, {who}",
            "" if bar is None else "<= 1 %",
            f"{100 * seen.value:.1f} % ({100 * seen.low:.1f} to {100 * seen.high:.1f})",
            held,
        )


def _calibration(name: str, one: Calibration) -> Iterator[Bar]:
    over = mean_of(one.error - one.floor)
    yield Bar(
        f"{name}: ECE with 80 audit labels",
        "<= floor + .003",
        f"{one.error.mean():.4f}, floor {one.floor.mean():.4f}, difference {_text(over, 4, '+')}",
        over.value <= 0.003,
    )
    better = mean_of(one.nll - one.raw)
    yield Bar(
        f"{name}: NLL against the raw head's",
        "<= 0",
        f"{one.nll.mean():.4f} against {one.raw.mean():.4f}, difference {_text(better, 4, '+')}",
        better.value <= 0.0,
    )


def _guarantee(name: str, many: Sequence[Guarantee]) -> Iterator[Bar]:
    most = DELTA + 2.0 * float(np.sqrt(DELTA * (1.0 - DELTA) / RESAMPLES))
    least = {600: 0.50, 1500: 0.70}
    for one in many:
        yield Bar(
            f"{name}: P(miss rate > 5 %), {one.audits} audits",
            f"<= {most:.3f}",
            f"{one.broken:.3f} (no low tier in {100 * one.none:.0f} %)",
            one.broken <= most,
        )
        yield Bar(
            f"{name}: P(false alarms > 10 %), {one.audits} audits",
            f"<= {most:.3f}",
            f"{one.false_alarms:.3f}",
            one.false_alarms <= most,
        )
        if one.audits in least:
            bar = least[one.audits]
            yield Bar(
                f"{name}: share in the low tier, {one.audits} audits",
                f">= {bar:.2f}",
                f"{one.low:.2f}",
                one.low >= bar,
            )


def _bias(name: str, one: Bias) -> Iterator[Bar]:
    for estimator, (bias, error, spread) in one.figures.items():
        held = None if "naive" in estimator or "AUC" in estimator else abs(bias) < 0.005
        text = f"{bias:+.4f} (SE {error:.4f}, spread {spread:.4f})"
        yield Bar(f"{name}: bias of the {estimator}", "" if held is None else "< .005", text, held)


def _creep(creep: Creep) -> Bar:
    seen = {rule: creep.loss(rule) for rule in RULES}
    text = "; ".join(f"{rule} {loss:+.3f}" for rule, loss in seen.items())
    return Bar("120 nightly gates: AUC lost at the 5th percentile", "<= .02", text, seen[RULES[0]] <= 0.02)


def _head_fit(ratios: np.ndarray) -> Bar:
    text = (
        f"{np.median(ratios):.2f} times ({ratios.min():.2f} to {ratios.max():.2f}), 15 priors against one fit"
    )
    return Bar(
        "head fit, 10,000 x 512, against scikit-learn", "<= 2 times", text, bool(np.median(ratios) <= 2)
    )


def _drift(drift: Delays) -> Iterator[Bar]:
    for share, days in drift.days.items():
        never = float((days > MOST_DAYS).mean())
        text = f"median {np.median(days):.0f} days; none within {MOST_DAYS} days in {100 * never:.0f} %"
        yield Bar(f"drift told, {100 * share:.0f} % of {STUDIES_A_DAY} studies a day from S4", "", text, None)


def _queue(lines: Sequence[Queue]) -> Iterator[Bar]:
    for one in lines:
        text = f"{one.simulated:.2f} (SE {one.error:.2f}) against {one.exact:.2f} minutes"
        yield Bar(f"queue simulator, {one.rule}, {one.who}", "2 % or 3 SE", text, one.agrees)


def _at_100(curves: Curves) -> int:
    return int(np.argmin(np.abs(curves.labels - 100)))


def _text(seen: Estimate, digits: int, sign: str = "") -> str:
    value, low, high = (f"{x:{sign}.{digits}f}" for x in (seen.value, seen.low, seen.high))
    return f"{value} ({low} to {high})"


def _count(seen: Estimate) -> str:
    value, low, high = (
        "not reached" if np.isinf(x) else f"{x:.0f}" for x in (seen.value, seen.low, seen.high)
    )
    return f"{value} ({low} to {high})"
