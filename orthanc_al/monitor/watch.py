"""Whether the studies of a day are those that the model is used to; each alarm says why, in words.

Embeddings do not see a change of prevalence: scores and the audit do. Every test has a p-value, and an alarm
is a p-value below ``alpha``: with alpha = .001 and six tests a day a service without drift is called to
look about twice a year and model, which `tests/unit/monitor/watch_test.py` measures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta, binomtest

from orthanc_al.domain import Grouping
from orthanc_al.inference.thresholds import Thresholds
from orthanc_al.ledger.monitoring import Point
from orthanc_al.methods import cusum, drift

Vector = NDArray[np.float64]
Strings = NDArray[np.str_]

LEAST_STUDIES: Final = 20
"""Studies that a test takes; a day with fewer borrows those of the days before it."""

LEAST_AUDITS: Final = 100
"""Audits that a reference for the positive rate takes."""

LEAST_POSITIVES: Final = 10
"""Audited positives, before and lately, that a look at their scores takes."""

OUTSIDE_IN_TRAINING: Final = 0.01
"""Share of unseen training images beyond the domain's limit, by which the limit is set (`fit_domain`)."""

_RUN_LENGTH: Final = 1000.0
"""Audits between two false alarms of the chart of the positive rate."""

_CONFIDENCE: Final = 0.9

_MOST_ACCEPTED: Final = 0.4
"""Rate above which a doubling of the odds is no rise that a chart of rare events is for."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Studies as the network saw them.

    Attributes
    ----------
    embeddings
        float64, shape (n, d).
    ood
        Distance over the domain's limit, shape (n,).
    groups
        In whose groups the site asks for the guarantee: the name of each study's, empty for one group of all.
    """

    embeddings: Vector
    ood: Vector
    groups: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many studies."""
        return int(self.ood.size)

    @property
    def finite(self) -> Vector:
        """Embeddings that are numbers, shape (m, d): the others count as outside of the domain alone."""
        return self.embeddings[self._is_finite]

    @property
    def finite_groups(self) -> Strings:
        """The groups of those, shape (m,)."""
        groups = np.array(self.groups or ("",) * self.size, np.str_)
        return groups[self._is_finite]

    @property
    def _is_finite(self) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(self.embeddings).all(axis=-1))


@dataclass(frozen=True, slots=True)
class Head:
    """A finding of the live package, as far as the monitor needs it.

    Attributes
    ----------
    weight, bias
        Of the logit: shape (d,), and a number.
    slope, offset
        Of the calibrator.
    thresholds, by
        Borders between the tiers, and what makes the groups in each of which the site asks for the guarantee.
    """

    name: str
    weight: Vector
    bias: float
    slope: float
    offset: float
    thresholds: Thresholds
    by: Grouping = Grouping.NONE

    @property
    def operating(self) -> float:
        """The calibrated probability at which sensitivity and specificity are stated."""
        return self.thresholds.operating

    def probabilities(self, embeddings: ArrayLike) -> Vector:
        """Return calibrated probabilities of embeddings (n, d), shape (n,)."""
        rows = np.asarray(embeddings, np.float64).reshape(-1, self.weight.size)
        logits = self.slope * (rows @ self.weight + self.bias) + self.offset
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -700.0, 700.0))))

    def tiers(self, probabilities: Vector, groups: Strings) -> NDArray[np.int64]:
        """Return how many are ranked low, review and high by the borders of their groups, shape (3,)."""
        low, high = np.zeros((2, probabilities.size), np.bool_)
        for group in np.unique(groups):
            own = groups == group
            below, above = self.thresholds.borders(self.by, str(group))
            low |= own & (probabilities < (below if below is not None else -1.0))
            high |= own & (probabilities > (above if above is not None else 2.0))
        return np.array([low.sum(), (~low & ~high).sum(), high.sum()])


def outside(today: Sample, alpha: float) -> Point:
    """Return the share outside of the model's domain, against that of its training."""
    out = int((today.ood > 1.0).sum())
    p = float(binomtest(out, today.size, OUTSIDE_IN_TRAINING, alternative="greater").pvalue)
    return Point(
        "outside_domain",
        out / today.size,
        today.size,
        p_value=p,
        alarm=p < alpha,
        reason=f"{out} of {today.size} studies are outside of the model's domain; of images like "
        f"those of its training one in a hundred is (p = {p:.2g})",
    )


def embeddings(reference: Sample, today: Sample, alpha: float) -> list[Point]:
    """Return Mahalanobis and energy distance of a day's embeddings from the reference's."""
    far = drift.kolmogorov_smirnov(reference.ood, today.ood)
    # Enough permutations for a p-value below alpha to be possible.
    apart = drift.energy(reference.finite, today.finite, math.ceil(2.0 / alpha))
    before, now = float(np.median(reference.ood)), float(np.median(today.ood))
    hint = "a scanner, a protocol or the patients may have changed"
    return [
        _test(
            "embedding_mahalanobis",
            far,
            today.size,
            alpha,
            f"the studies lie {now:.2f} of the domain's limit away on the median, those of the reference "
            f"{before:.2f}",
            hint,
        ),
        _test(
            "embedding_energy",
            apart,
            today.size,
            alpha,
            "energy distance of the studies' embeddings from the reference's",
            hint,
        ),
    ]


def scores(head: Head, reference: Sample, today: Sample, alpha: float) -> list[Point]:
    """Return how a finding's scores and tiers differ from the reference's, both by the live head."""
    old, new = head.probabilities(reference.finite), head.probabilities(today.finite)
    said = f"the mean probability of {head.name} is {new.mean():.3f}, in the reference {old.mean():.3f}"
    hint = "prevalence or images may have changed; the audit tells which"
    before, now = head.tiers(old, reference.finite_groups), head.tiers(new, today.finite_groups)
    tiers = drift.mix(before, now)
    shares = now / new.size
    mixed = f"{shares[0]:.0%} low, {shares[1]:.0%} review, {shares[2]:.0%} high"
    return [
        _test("score_ks", drift.kolmogorov_smirnov(old, new), new.size, alpha, said, hint, head.name),
        _test("score_psi", drift.psi(old, new), new.size, alpha, said, hint, head.name),
        _test("prediction_mix", tiers, new.size, alpha, mixed, hint, head.name),
    ]


def positive_scores(head: Head, before: ArrayLike, lately: ArrayLike, alpha: float) -> list[Point]:
    """Return whether audited positives score as they did: the low tier's guarantee rests on that.

    Parameters
    ----------
    before, lately
        Embeddings of audited positives, shapes (n, d) and (m, d). With too few of them nothing is said.
    """
    old, new = head.probabilities(before), head.probabilities(lately)
    if min(old.size, new.size) < LEAST_POSITIVES:
        return []
    said = (
        f"audited positives have a median probability of {np.median(new):.2f}, earlier ones of "
        f"{np.median(old):.2f}"
    )
    hint = "the mix of disease may have changed, and then the low tier's guarantee does not hold"
    found = drift.kolmogorov_smirnov(old, new)
    return [_test("disease_mix", found, new.size, alpha, said, hint, head.name)]


def positive_rate(finding: str, events: Sequence[bool], lately: int, alpha: float) -> list[Point]:
    """Return whether the share of positive audits rose (a CUSUM) or fell (an exact test).

    Parameters
    ----------
    events
        Of each audited study in the order of its draw, whether it has the finding. The first 100 are the
        reference; with fewer nothing is said.
    lately
        How many of the last of them a fall is looked for in.
    alpha
        For the fall. The chart has a mean of 1,000 audits between false alarms; accepted is the upper 90 %
        bound of the reference's rate, so that a reference that was low by chance is no reason for an alarm.
    """
    reference, rest = np.array(events[:LEAST_AUDITS]), np.array(events[LEAST_AUDITS:])
    positives = int(reference.sum())
    if reference.size < LEAST_AUDITS or not rest.size:
        return []
    points = []
    rate = positives / reference.size
    accepted = float(beta.ppf(_CONFIDENCE, positives + 1, reference.size - positives))
    if accepted < _MOST_ACCEPTED:
        chart = cusum.design(accepted, 2.0 * accepted / (1.0 + accepted), _RUN_LENGTH)
        level = int(chart.path(rest)[-1])
        points.append(
            Point(
                "audit_rate_rise",
                level / chart.limit,
                int(rest.size),
                finding=finding,
                alarm=level >= chart.limit,
                reason=f"{rate:.1%} of the first {reference.size} audited studies had {finding}, and "
                f"{rest[-lately:].mean():.1%} of the last {rest[-lately:].size} have it; a doubling of the "
                "odds is looked for (CUSUM, 1 is an alarm)",
            )
        )
    window = rest[-lately:]
    least = float(beta.ppf(1.0 - _CONFIDENCE, max(positives, 1e-9), reference.size - positives + 1))
    p = (
        float(binomtest(int(window.sum()), window.size, least, alternative="less").pvalue)
        if least > 0
        else 1.0
    )
    points.append(
        Point(
            "audit_rate_fall",
            float(window.mean()),
            int(window.size),
            finding=finding,
            p_value=p,
            alarm=p < alpha,
            reason=f"{int(window.sum())} of the last {window.size} audited studies have {finding}, and "
            f"{positives} of the first {reference.size} had it (p = {p:.2g})",
        )
    )
    return points


def _test(
    measure: str,
    found: drift.Distance,
    cases: int,
    alpha: float,
    said: str,
    hint: str,
    finding: str = "",
) -> Point:
    is_alarm = found.p_value < alpha
    reason = f"{said} (p = {found.p_value:.2g})"
    return Point(
        measure,
        found.value,
        cases,
        finding=finding,
        p_value=found.p_value,
        alarm=is_alarm,
        reason=f"{reason}: {hint}" if is_alarm else reason,
    )
