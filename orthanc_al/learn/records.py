"""The change record: what was judged, on which data, with which figures, and the way back."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from orthanc_al.domain import ModelRef
from orthanc_al.learn.judgement import Verdict
from orthanc_al.learn.pccp import Plan
from orthanc_al.learn.proposals import FindingResult
from orthanc_al.learn.snapshot import Role, Snapshot

_HEAD: Final = """\
# Change record: {model} {version}

**{verdict}** on {at}{because}

- against the champion {champion} and the factory's {anchor}
- data: snapshot `{digest}`, {patients} patients; {drawn} audits drawn, {unread:.0%} of them unread
- not checked: {not_checked}
- way back: `{way_back}`

| finding | labels for | positive | negative |
|---|---|---|---|
"""


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
    """Return the record as plain data; the ledger keeps it, and :func:`page` writes it for people.

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
        "at": datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"),
        "model": champion.name,
        "candidate_version": version,
        "champion": {"version": champion.version, "digest": champion.digest},
        "anchor": {"version": anchor.version, "digest": anchor.digest},
        "dataset": {
            "digest": snapshot.digest,
            "patients": len(snapshot.folds),
            "labels": _label_counts(snapshot, [result.chosen.name for result in results]),
            "audits_drawn": snapshot.response.drawn,
            "audits_unread_share": snapshot.response.unread_share,
        },
        "findings": [_finding(result) for result in results],
        "verdict": verdict.value,
        "refusal": refusal,
        "plan": plan.model_dump(mode="json"),
        "not_checked": ["a night in shadow"],
        "way_back": f"orthanc-al models rollback {champion.name} --reason ...",
    }


def page(record: Mapping[str, Any]) -> str:
    """Return the record as a Markdown page."""
    data = record["dataset"]
    lines = _HEAD.format(
        model=record["model"],
        version=record["candidate_version"],
        verdict=record["verdict"].replace("_", " "),
        at=record["at"],
        because=f": {record['refusal']}" if record["refusal"] else "",
        champion=_named(record["champion"]),
        anchor=_named(record["anchor"]),
        digest=data["digest"],
        patients=data["patients"],
        drawn=data["audits_drawn"],
        unread=data["audits_unread_share"],
        not_checked=", ".join(record["not_checked"]),
        way_back=record["way_back"],
    ).splitlines()
    lines += [
        f"| {finding} | {role} | {positives} | {negatives} |"
        for finding, roles in data["labels"].items()
        for role, (positives, negatives) in roles.items()
    ]
    for finding in record["findings"]:
        for proposal in finding["proposals"]:
            lines += _proposal_lines(finding["name"], proposal)
    return "\n".join(lines) + "\n"


def _named(model: Mapping[str, str]) -> str:
    return f"{model['version']} (`{model['digest'][:12]}`)"


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
        "borders": {"operating": borders.operating, "high": borders.high, "low": borders.low},
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


def _proposal_lines(finding: str, proposal: Mapping[str, Any]) -> list[str]:
    return [
        "",
        f"## {finding}: new {proposal['change']}: {proposal['verdict'].replace('_', ' ')}",
        "",
        "| check | holds | figures |",
        "|---|---|---|",
        *(
            f"| {check['name']} | {'yes' if check['passed'] else '**no**'} | {check['text']} |"
            for check in proposal["checks"]
        ),
    ]
