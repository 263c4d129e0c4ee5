"""A change record as a page that a person reads, in Markdown. Pure: the record in, text out."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_HEAD: Final = """\
# Change record: {model} {version}

**{verdict}** on {at}{because}

- against the champion {champion} and {anchor}, which gave the backbone
- data: snapshot `{digest}`, {patients} patients; {drawn} audits drawn, {unread:.0%} of them unread
- in shadow: {shadow}
- way back: `{way_back}`

| finding | labels for | positive | negative |
|---|---|---|---|
"""

_WITHDRAWN: Final = """\
# Change record: {model} {version} withdrawn

**{verdict}** on {at}: the audit shows more wrong answers than were accepted

- withdrawn {champion}; {instead}
- data: snapshot `{digest}`, {patients} patients; {drawn} audits drawn, {unread:.0%} of them unread
- way back: `{way_back}`

| finding | of | wrong | audits | accepted | audits between false alarms |
|---|---|---|---|---|---|
"""


def page(record: Mapping[str, Any]) -> str:
    """Return the page of a record's content, as ``change_records`` in the ledger has it.

    Raises
    ------
    KeyError
        It is no such record.
    """
    return "\n".join(_withdrawal(record) if "charts" in record else _judgement(record)) + "\n"


def _judgement(record: Mapping[str, Any]) -> Iterator[str]:
    data = record["dataset"]
    yield from _HEAD.format(
        **_common(record),
        because=f": {record['refusal']}" if record["refusal"] else "",
        anchor=_named(record["anchor"]),
        shadow=record["shadow"],
    ).splitlines()
    for finding, roles in data["labels"].items():
        for role, (positives, negatives) in roles.items():
            yield f"| {finding} | {role} | {positives} | {negatives} |"
    for finding in record["findings"]:
        for proposal in finding["proposals"]:
            yield from _proposal(finding["name"], proposal)
    for finding, rate in data["worst_miss_rate"].items():
        yield from (
            "",
            f"If each unread audit had {finding} and ranked low, {rate:.1%} of positives would be missed.",
        )
    if data["left_out"]:
        yield from ("", "Left out, since no night can use them:", "")
        yield from (f"- {fault}" for fault in data["left_out"])


def _withdrawal(record: Mapping[str, Any]) -> Iterator[str]:
    instead = record["instead"]
    yield from _WITHDRAWN.format(
        **_common(record),
        instead=f"{_named(instead)} is live again"
        if instead
        else "it is live all the same, until a person acts",
    ).splitlines()
    for chart in record["charts"]:
        yield (
            f"| {chart['finding']} | {chart['kind']} | {chart['wrong']} | {chart['audits']} | "
            f"{chart['accepted']:.1%} | {chart['run_length']:.0f} |"
        )


def _common(record: Mapping[str, Any]) -> dict[str, Any]:
    data = record["dataset"]
    return {
        "model": record["model"],
        "version": record["candidate_version"],
        "verdict": record["verdict"].replace("_", " "),
        "at": record["at"],
        "champion": _named(record["champion"]),
        "digest": data["digest"],
        "patients": data["patients"],
        "drawn": data["audits_drawn"],
        "unread": data["audits_unread_share"],
        "way_back": record["way_back"],
    }


def _named(model: Mapping[str, str]) -> str:
    return f"{model['version']} (`{model['digest'][:12]}`)"


def _proposal(finding: str, proposal: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"## {finding}: new {proposal['change']}: {proposal['verdict'].replace('_', ' ')}"
    yield from ("", "| check | holds | figures |", "|---|---|---|")
    for check in proposal["checks"]:
        holds = "yes" if check["passed"] else "**no**"
        yield f"| {check['name']} | {holds} | {check['text']} |"
