"""The change record: what was judged, on which data, with which figures, and the way back.

The ledger keeps it as plain data; `orthanc_al.domain.change_page` makes a page of it for people.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from orthanc_al.domain import ModelRef
from orthanc_al.learn.judgement import Verdict
from orthanc_al.learn.pccp import Plan
from orthanc_al.learn.proposals import FindingResult
from orthanc_al.learn.snapshot import Role, Snapshot
from orthanc_al.learn.watch import AuditChart


def verdict_of(results: Sequence[FindingResult]) -> Verdict:
    """Return the verdict of a night: ``better`` where a finding is, else the gravest of them."""
    verdicts = {result.verdict for result in results}
    order = (Verdict.BETTER, Verdict.REFUSED, Verdict.NOT_BETTER, Verdict.NOT_ENOUGH)
    return next(verdict for verdict in order if verdict in verdicts)


def change_record(
    *,
    champion: ModelRef,
    anchor: ModelRef,
    version: str,
    snapshot: Snapshot,
    results: Sequence[FindingResult],
    verdict: Verdict,
    refusal: str,
    plan: Plan,
    at: float,
) -> dict[str, Any]:
    """Return the record of a judgement.

    Parameters
    ----------
    version
        That the candidate has or would have had.
    refusal
        Why a package could not be made of what the gate let through; empty where there is no such reason.
    at
        Seconds since 1970.
    """
    return {
        "at": _time(at),
        "model": champion.name,
        "candidate_version": version,
        "champion": _named(champion),
        "anchor": _named(anchor),
        "dataset": {
            **_dataset(snapshot),
            "labels": _label_counts(snapshot, [result.chosen.name for result in results]),
        },
        "findings": [_finding(result) for result in results],
        "verdict": verdict.value,
        "refusal": refusal,
        "plan": plan.model_dump(mode="json"),
        "shadow": _shadow(plan),
        "way_back": _way_back(champion),
    }


def withdrawal_record(
    *,
    champion: ModelRef,
    instead: ModelRef | None,
    snapshot: Snapshot,
    charts: Sequence[AuditChart],
    plan: Plan,
    at: float,
) -> dict[str, Any]:
    """Return the record of an alarm by the champion's audits.

    Parameters
    ----------
    instead
        What is live again; None where nothing was rolled back, since that is left to a person or nothing was
        live before.
    """
    return {
        "at": _time(at),
        "model": champion.name,
        "candidate_version": champion.version,
        "champion": _named(champion),
        "instead": None if instead is None else _named(instead),
        "dataset": _dataset(snapshot),
        "charts": [chart.as_dict() for chart in charts],
        "verdict": "withdrawn" if instead is not None else "alarm",
        "plan": plan.model_dump(mode="json"),
        "way_back": f"orthanc-al models promote {champion.name} {champion.version} --reason ..."
        if instead is not None
        else _way_back(champion),
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _named(model: ModelRef) -> dict[str, str]:
    return {"version": model.version, "digest": model.digest}


def _way_back(champion: ModelRef) -> str:
    return f"orthanc-al models rollback {champion.name} --reason ..."


def _shadow(plan: Plan) -> str:
    if not plan.shadow.rule.asks:
        return "not asked for by the plan"
    return (
        f"{plan.shadow.min_studies} studies and {plan.shadow.min_hours:g} hours beside the champion before "
        "it may go live; `orthanc-al models show` has the figures"
    )


def _dataset(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "digest": snapshot.digest,
        "patients": len(snapshot.folds),
        "audits_drawn": snapshot.response.drawn,
        "audits_unread_share": snapshot.response.unread_share,
        "worst_miss_rate": {
            finding: snapshot.response.worst_miss_rate(finding)
            for finding in sorted({one.finding for one in snapshot.response.tiers})
        },
        "left_out": list(snapshot.faults),
    }


def _label_counts(snapshot: Snapshot, findings: Sequence[str]) -> dict[str, dict[str, list[int]]]:
    return {
        finding: {
            role.value: [cases.positives, cases.negatives]
            for role in Role
            for cases in [snapshot.select(finding, role)]
        }
        for finding in findings
    }


def _finding(result: FindingResult) -> dict[str, Any]:
    borders = result.chosen.borders
    return {
        "name": result.chosen.name,
        "verdict": result.verdict.value,
        "calibrator": [result.chosen.calibrator.slope, result.chosen.calibrator.offset],
        "borders": borders.entry().model_dump(
            mode="json", exclude={"groups"} if borders.groups is None else None
        ),
        "proposals": [
            {
                "change": proposal.change,
                "verdict": proposal.judgement.verdict.value,
                "checks": [
                    {
                        "name": check.name,
                        "passed": check.passed,
                        "text": check.text,
                        "figures": dict(check.figures),
                    }
                    for check in proposal.judgement.checks
                ],
            }
            for proposal in result.proposals
        ],
    }
