"""Whether "low" carries its guarantee today, in plain words: when not, why, and what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orthanc_al.domain import Grouping, group_of
from orthanc_al.inference.thresholds import Thresholds
from orthanc_al.ledger.learning import LabelledCase
from orthanc_al.ledger.monitoring import Point
from orthanc_al.ledger.response import Response
from orthanc_al.methods.conformal import positives_needed

_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Promise:
    """What the site asks for.

    Attributes
    ----------
    miss_rate, delta
        At most this share of the positives is ranked low, but for a probability delta.
    groups
        In each group by what.
    max_unread_share
        Of the audits, beyond which nothing is low.
    """

    miss_rate: float
    delta: float
    groups: Grouping
    max_unread_share: float

    @property
    def needed(self) -> int:
        """Audited positives of the fold ``thresholds`` that a low tier takes."""
        return positives_needed(self.miss_rate, self.delta)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for and against it.

    Attributes
    ----------
    thresholds
        Of the live package for the finding.
    retrained
        Whether the package was made here: another's borders are never believed.
    response
        To the audits that were drawn long enough ago.
    mix_changed
        Why the mix of disease is in doubt; empty where it is not.
    window_days
        How long back the rate of new positives is taken from, at most since the first audit.
    """

    thresholds: Thresholds
    retrained: bool
    response: Response
    mix_changed: str
    window_days: float


def standing(
    promise: Promise, finding: str, cases: Sequence[LabelledCase], evidence: Evidence, now: float
) -> list[Point]:
    """Return a point for all studies, or for each group: 1 where a study can be ranked low, with the reason.

    Parameters
    ----------
    cases
        Blind audited cases of the finding, each patient once.
    now
        Seconds since 1970: the end of the day that is looked at.
    """
    positives = [case for case in cases if case.present and case.fold == "thresholds"]
    audited_days = (now - min((case.arrived_at for case in cases), default=now)) / _DAY
    evidence = replace(evidence, window_days=max(1.0, min(evidence.window_days, audited_days)))
    groups = {""} if promise.groups is Grouping.NONE else _groups(promise.groups, cases, evidence)
    return [
        _of_group(promise, finding, group, _in(promise.groups, group, positives), evidence, now)
        for group in sorted(groups)
    ]


def _groups(by: Grouping, cases: Sequence[LabelledCase], evidence: Evidence) -> set[str]:
    known = evidence.thresholds.groups
    made = {group.name for group in known.borders} if known is not None and known.by is by else set()
    return made | {group_of(by, case.attributes) for case in cases}


def _in(by: Grouping, group: str, cases: Sequence[LabelledCase]) -> list[LabelledCase]:
    return [case for case in cases if group_of(by, case.attributes) == group]


def _of_group(
    promise: Promise,
    finding: str,
    group: str,
    positives: Sequence[LabelledCase],
    evidence: Evidence,
    now: float,
) -> Point:
    low, _ = evidence.thresholds.borders(promise.groups, group)
    count = len(positives)
    whom = f"studies with {finding}"
    if promise.groups is not Grouping.NONE:
        whom += f" of {promise.groups.value.replace('_', ' ')} {group or 'unknown'}"
    bound = f"at most {promise.miss_rate:.0%} of the {whom} are ranked low"
    audited = f"{count} audited positives for its border, {promise.needed} are needed"
    unread = evidence.response.unread_share
    holds, in_doubt = False, False
    if unread > promise.max_unread_share:
        said = (
            f"Withdrawn: {unread:.0%} of the audits gave no label in time, and at most "
            f"{promise.max_unread_share:.0%} may; who is not read is not missing at random. "
            "Nothing is ranked low."
        )
        in_doubt = low is not None
    elif low is None or not evidence.retrained:
        said = f"Nothing is ranked low: {audited}. {_outlook(promise, positives, evidence, now)}"
    else:
        holds = not evidence.mix_changed
        in_doubt = not holds
        said = (
            f"Holds: with {1 - promise.delta:.0%} confidence {bound}, over patients like those audited "
            f"({audited}). A change of prevalence does not touch it; a change of the mix of disease does."
            if holds
            else f"In doubt: {bound} over patients like those audited before, but {evidence.mix_changed}. "
            "Studies are still ranked low: set the border anew with fresh audits, or ask for groups."
        )
    return Point("guarantee", float(holds), count, finding=finding, part=group, alarm=in_doubt, reason=said)


def _outlook(promise: Promise, positives: Sequence[LabelledCase], evidence: Evidence, now: float) -> str:
    missing = promise.needed - len(positives)
    if missing <= 0:
        return "There are enough: the next package that passes the gate can have one."
    recent = sum(case.arrived_at >= now - evidence.window_days * _DAY for case in positives)
    if not recent:
        return f"{missing} are missing, and none came in the last {evidence.window_days:.0f} days."
    days = missing / recent * evidence.window_days
    return f"{missing} are missing: some {days:.0f} days at the rate of the last {evidence.window_days:.0f}."
