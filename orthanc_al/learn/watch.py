"""The champion's audits since it went live: whether it errs more than when it was let in.

Two charts for each finding (`orthanc_al.methods.cusum`): misses among audited positives, false alarms among
audited negatives, each at the operating threshold. The accepted rate is the upper 90 % bound (Clopper &
Pearson, Biometrika 26:404, 1934) of the rate on the audits that judged it before, so that a lucky judgement
raises no alarm of itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from orthanc_al.learn.finding_model import FindingModel
from orthanc_al.learn.pccp import Watch
from orthanc_al.learn.snapshot import Role, Snapshot
from orthanc_al.ledger.learning import LabelledCase
from orthanc_al.methods.cusum import Chart, design

_BOUND: Final = 0.9
_HOPELESS: Final = 0.5
"""An accepted rate from which on a rise can't be told from what was accepted."""


@dataclass(frozen=True, slots=True)
class AuditChart:
    """One chart, and where it stands.

    Attributes
    ----------
    kind
        ``misses`` or ``false alarms``.
    chart
        Its accepted rate, steps and limit.
    path
        The chart after each audit since the champion went live, shape (n,).
    events
        How many of these were wrong.
    alarm
        Index of the audit at which it told, None where it did not.
    """

    finding: str
    kind: str
    chart: Chart
    path: NDArray[np.int64]
    events: int
    alarm: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, for records."""
        return {
            "finding": self.finding,
            "kind": self.kind,
            "accepted": self.chart.accepted,
            "run_length": self.chart.run_length,
            "limit": self.chart.limit,
            "level": int(self.path[-1]) if self.path.size else 0,
            "audits": int(self.path.size),
            "wrong": self.events,
            "alarm": self.alarm,
        }

    def __str__(self) -> str:
        """Return in a sentence what it tells."""
        return (
            f"{self.finding}: {self.events} {self.kind} in {self.path.size} audits, accepted is a rate of "
            f"{self.chart.accepted:.1%} (one false alarm in {self.chart.run_length:.0f} audits)"
        )


def audit_charts(
    snapshot: Snapshot, model: FindingModel, live_since: float, watch: Watch
) -> list[AuditChart]:
    """Return the charts of one finding; none of a kind that too few audits are known of.

    Parameters
    ----------
    snapshot
        All reads, by the backbone of ``model``.
    model
        The finding in the live package.
    live_since
        Seconds since 1970: audits of studies that arrived from then on are watched.
    watch
        What is to be told, and how seldom without a reason.
    """
    charts = []
    for kind, label in (("misses", True), ("false alarms", False)):
        before, after = _split(snapshot, model, live_since, present=label)
        if before.size < watch.min_cases:
            continue
        accepted = float(beta.ppf(_BOUND, before.sum() + 1, max(before.size - before.sum(), 1)))
        if accepted >= _HOPELESS:
            continue
        odds = watch.odds * accepted / (1.0 - accepted)
        chart = design(accepted, odds / (1.0 + odds), watch.run_length)
        charts.append(
            AuditChart(model.name, kind, chart, chart.path(after), int(after.sum()), chart.alarm(after))
        )
    return charts


def _split(
    snapshot: Snapshot, model: FindingModel, live_since: float, *, present: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which audits were wrong: those that judged it before it went live, and all since, in order."""
    gate = snapshot.select(model.name, Role.GATE).rows
    audits = [
        case
        for role in (Role.CALIBRATION, Role.THRESHOLDS, Role.GATE)
        for case in snapshot.select(model.name, role).rows
    ]
    since = [case for case in audits if case.arrived_at >= live_since and case.present is present]
    since.sort(key=lambda case: (case.arrived_at, case.study_instance_uid))
    known = [case for case in gate if case.arrived_at < live_since and case.present is present]
    return _wrong(known, model), _wrong(since, model)


def _wrong(cases: Sequence[LabelledCase], model: FindingModel) -> NDArray[np.int64]:
    if not cases:
        return np.empty(0, np.int64)
    p = model.probabilities(np.array([case.embedding for case in cases], np.float64))
    present = np.array([case.present for case in cases], np.bool_)
    return np.asarray((p >= model.borders.operating) != present, np.int64)
