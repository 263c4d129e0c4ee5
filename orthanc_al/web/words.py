"""How times, people and figures are said on the page. Pure: the time zone and the time are given."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from orthanc_al.domain import ReadSource, ReadValue, StudyState, Tier
from orthanc_al.ledger.worklist import Entry

TIER_WORDS: Final = {
    Tier.HIGH: "High",
    Tier.REVIEW: "Review",
    Tier.NONE: "No tier",
    Tier.LOW: "Low",
}
STATE_WORDS: Final = {
    StudyState.ARRIVING: "arriving",
    StudyState.COMPLETE: "no score",
    StudyState.SCORED: "scored",
    StudyState.INELIGIBLE: "not eligible",
    StudyState.READ: "read",
    StudyState.EXPIRED: "expired",
}
VALUE_WORDS: Final = {
    ReadValue.PRESENT: "Present",
    ReadValue.ABSENT: "Absent",
    ReadValue.UNDETERMINED: "Unsure",
}
SOURCE_WORDS: Final = {
    ReadSource.LABEL.name.lower(): "label in Orthanc",
    ReadSource.KEY_OBJECT.name.lower(): "key object selection",
    ReadSource.VIEWER_SR.name.lower(): "report of a viewer, not verified",
    ReadSource.IMPORTED.name.lower(): "imported",
    ReadSource.PAGE.name.lower(): "worklist page",
    ReadSource.VERIFIED_SR.name.lower(): "verified report",
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclass(frozen=True, slots=True)
class Due:
    """A read-by time against the clock; ``soon`` is within a quarter of an hour."""

    text: str
    overdue: bool
    soon: bool


def clock_time(seconds: float, zone: ZoneInfo, now: float) -> str:
    """Return the time of day, with the date where it is not today's."""
    at, today = datetime.fromtimestamp(seconds, zone), datetime.fromtimestamp(now, zone)
    if at.date() == today.date():
        return f"{at:%H:%M}"
    return f"{at:%d %b %H:%M}" if at.year == today.year else f"{at:%d %b %Y %H:%M}"


def machine_time(seconds: float, zone: ZoneInfo) -> str:
    """Return ISO 8601 to the second, with the offset from UTC."""
    return datetime.fromtimestamp(seconds, zone).isoformat(timespec="seconds")


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    if seconds < _MINUTE:
        return "under 1 min"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min"
    if seconds < _DAY:
        return f"{int(seconds // _HOUR)} h {int(seconds % _HOUR // _MINUTE):02d} min"
    return f"{int(seconds // _DAY)} d {int(seconds % _DAY // _HOUR)} h"


def due(read_by: int, now: float) -> Due:
    """Return how far ``read_by`` (minutes since 1970) is from ``now`` (seconds since 1970)."""
    left = read_by * _MINUTE - now
    if abs(left) < _MINUTE:
        return Due("now", overdue=False, soon=True)
    if left < 0:
        return Due(f"overdue {duration(-left)}", overdue=True, soon=False)
    return Due(f"in {duration(left)}", overdue=False, soon=left < 15 * _MINUTE)


def person_name(value: str) -> str:
    """Return a name of value representation PN as people write it (PS3.5 6.2.1).

    The first group of components that says anything is taken: alphabetic, ideographic, phonetic.
    """
    group = next((part for part in value.split("=") if part.strip(" ^")), "")
    family, given, middle, *affixes = [part.strip() for part in (group + "^^^^").split("^")]
    first = " ".join(part for part in (given, middle, *affixes) if part)
    return ", ".join(part for part in (family, first) if part)


def age(birth_date: str, at: float, zone: ZoneInfo) -> str:
    """Return the age at a time: days under a month, months under two years, then years.

    Parameters
    ----------
    birth_date
        Value representation DA, YYYYMMDD; empty is returned for what is no date before ``at``.
    """
    try:
        born = date(int(birth_date[:4]), int(birth_date[4:6]), int(birth_date[6:8]))
    except ValueError:
        return ""
    today = datetime.fromtimestamp(at, zone).date()
    months = (today.year - born.year) * 12 + today.month - born.month - (today.day < born.day)
    if born > today:
        return ""
    if months < 1:
        return f"{(today - born).days} d"
    return f"{months} mo" if months < 24 else f"{months // 12} y"


def percent(probability: float) -> str:
    """Return a probability in percent; never 0 or 100, which it is not."""
    if probability < 0.01:
        return "<1 %"
    if probability > 0.99:
        return ">99 %"
    return f"{probability * 100:.0f} %"


def size(count: int) -> str:
    """Return a number of bytes in kB or MB."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def viewer_links(templates: Mapping[str, str], entry: Entry) -> list[tuple[str, str]]:
    """Return words and link of each viewer that can open a study."""
    links = ((label, viewer_link(template, entry)) for label, template in templates.items())
    return [(label, link) for label, link in links if link]


def viewer_link(template: str, entry: Entry) -> str:
    """Return the link that opens a study in the site's viewer, empty where it can't be made."""
    link = template
    for name, value in (
        ("{study_instance_uid}", entry.study_instance_uid),
        ("{accession_number}", entry.accession_number),
        ("{orthanc_id}", entry.orthanc_id),
    ):
        if name in template and not value:
            return ""
        link = link.replace(name, quote(value, safe=""))
    return link
