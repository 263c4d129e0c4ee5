"""From a snapshot to what it proposes for one finding: a new head, or new borders for the old one.

What all of it starts from is the factory's package and never the champion's: each night is the same
function of all labels, whatever the nights before made of some of them.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orthanc_al.domain import Grouping, group_of
from orthanc_al.inference.thresholds import Groups, GroupThresholds
from orthanc_al.learn.finding_model import Borders, FindingModel
from orthanc_al.learn.snapshot import Cases, Role, Snapshot
from orthanc_al.methods.calibration import FITTED_HEAD, Prior, fit_calibrator
from orthanc_al.methods.conformal import high_threshold, low_threshold
from orthanc_al.methods.head import fit_head

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What the tiers promise: ``[triage]`` of the configuration.

    Attributes
    ----------
    miss_rate
        alpha: most positives that may be ranked low, as a share.
    false_alarm_rate
        Most negatives that may be ranked high, as a share.
    delta
        Probability with which each may be exceeded all the same.
    groups
        In each group of which studies both shall hold; one group of all by default.
    """

    miss_rate: float
    false_alarm_rate: float
    delta: float
    groups: Grouping = Grouping.NONE


def refit(snapshot: Snapshot, anchor: FindingModel) -> FindingModel:
    """Return the factory's finding with a head fitted to all training labels, about the factory's head."""
    train = snapshot.select(anchor.name, Role.TRAIN)
    if not train.rows:
        return anchor
    head = fit_head(
        train.embeddings, train.labels, anchor.weight, float(anchor.bias), sample_weight=train.weights
    )
    return anchor.with_head(head)


def recalibrate(snapshot: Snapshot, model: FindingModel, anchor: FindingModel) -> FindingModel:
    """Return the model with a calibrator from the audit.

    Of the factory's own head it is drawn towards the factory's calibrator, which it is without audit labels;
    of a head that the site's reads were fitted to, towards the head's own probabilities.
    """
    audit = snapshot.select(model.name, Role.CALIBRATION)
    prior = Prior(anchor.calibrator) if _same_head(model, anchor) else FITTED_HEAD
    return replace(model, calibrator=fit_calibrator(_logits(model, audit), audit.labels, prior=prior))


def _same_head(one: FindingModel, other: FindingModel) -> bool:
    return np.array_equal(one.weight, other.weight) and bool(one.bias == other.bias)


def set_borders(
    snapshot: Snapshot,
    model: FindingModel,
    anchor: FindingModel,
    guarantee: Guarantee,
    before: ArrayLike | None = None,
) -> FindingModel:
    """Return the model with the borders that the site's audit supports.

    ``before`` are the anchor's probabilities of the fold ``calibration``, where it has another backbone
    than the model; else it is asked itself.

    The low tier has to be earned by audited positives of the fold ``thresholds`` and is withdrawn when too
    many audits stay unread. The high border is bounded by audited negatives likewise, and where they are
    too few it flags as many as the factory's does, as the operating threshold always does.
    """
    audit = snapshot.select(model.name, Role.THRESHOLDS)
    p = _probabilities(model, audit)
    moved = _Transfer(snapshot, model, anchor, before)
    own = _supported(audit, p, guarantee, answered=snapshot.answered)
    high = own.high if own.high is not None else moved.optional(anchor.borders.high)
    return replace(
        model,
        borders=Borders(
            operating=moved(anchor.borders.operating),
            high=high,
            low=_below(own.low, high),
            groups=_grouped(audit, p, guarantee, high, answered=snapshot.answered),
        ),
    )


def _supported(audit: Cases, p: Vector, guarantee: Guarantee, *, answered: bool) -> GroupThresholds:
    """Return the borders that audited cases and their probabilities p (n,) support."""
    outside = audit.ood > 1.0  # always ranked review: never missed, never a false alarm of the tier
    low = low_threshold(np.where(outside, np.inf, p)[audit.labels == 1], guarantee.miss_rate, guarantee.delta)
    high = high_threshold(
        np.where(outside, -np.inf, p)[audit.labels == 0], guarantee.false_alarm_rate, guarantee.delta
    )
    top = None if high is None else high.value
    return GroupThresholds(
        name="",
        high=top,
        low=_below(None if low is None or not answered else low.value, top),
        positives=audit.positives,
        negatives=audit.negatives,
    )


def _below(low: float | None, high: float | None) -> float | None:
    """Return the low border, at most the high one.

    Where the two classes are so far apart that the borders cross, what lies between is certain either way.
    """
    return low if low is None or high is None else min(low, high)


def _grouped(
    audit: Cases, p: Vector, guarantee: Guarantee, high: float | None, *, answered: bool
) -> Groups | None:
    """Return the borders of each group from its own cases alone; None where the site asks for no groups.

    A group with too few positives gets no low border, so that nothing of it is ranked low, whatever all
    groups together support.
    """
    if guarantee.groups is Grouping.NONE:
        return None
    names = np.array([group_of(guarantee.groups, case.attributes) for case in audit.rows], np.str_)
    borders = []
    for name in sorted(set(names.tolist())):
        belongs = names == name
        own = _supported(audit.where(belongs), p[belongs], guarantee, answered=answered)
        low = _below(own.low, own.high if own.high is not None else high)
        borders.append(own.model_copy(update={"name": name, "low": low}))
    return Groups(by=guarantee.groups, borders=tuple(borders))


class _Transfer:
    """Moves a border of the factory's to where the new model flags the same share of unchosen cases."""

    def __init__(
        self, snapshot: Snapshot, model: FindingModel, anchor: FindingModel, before: ArrayLike | None
    ) -> None:
        audit = snapshot.select(model.name, Role.CALIBRATION)
        self._new = _probabilities(model, audit)
        self._old = _probabilities(anchor, audit) if before is None else np.asarray(before, np.float64)

    def __call__(self, border: float) -> float:
        above = int((self._old >= border).sum())
        if not 0 < above < self._old.size:
            return border  # no case tells where it belongs
        ordered = np.sort(self._new)
        return float((ordered[-above] + ordered[-above - 1]) / 2.0)

    def optional(self, border: float | None) -> float | None:
        return None if border is None else self(border)


def _probabilities(model: FindingModel, cases: Cases) -> Vector:
    return model.calibrator.probability(_logits(model, cases))


def _logits(model: FindingModel, cases: Cases) -> Vector:
    return model.logits(cases.embeddings) if cases.rows else np.empty(0)
