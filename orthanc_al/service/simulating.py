"""`orthanc-al simulate`: the site's reading room, or one that is described, through the simulator."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from orthanc_al.errors import ConfigurationError
from orthanc_al.ledger import Ledger, reading_room
from orthanc_al.methods.queueing import Discipline, FindingPoint, Load, savings
from orthanc_al.observe import now
from orthanc_al.settings import Settings
from orthanc_al.simulate import Answer, Population, Rule, Traffic, answer, by_operating_points, plots, site
from orthanc_al.simulate.room import (
    DAY_MINUTES,
    Arrivals,
    ExponentialReading,
    ObservedDays,
    ObservedReading,
    PoissonArrivals,
    Reading,
)

_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Room:
    """What is asked for beside what the ledger knows; None is taken from the ledger.

    Attributes
    ----------
    findings
        The hierarchy with its operating points; empty: as the audit shows them.
    hierarchical
        Whether priority follows the order of the findings.
    history_days
        How far back the ledger is looked at.
    """

    findings: tuple[FindingPoint, ...] = ()
    hierarchical: bool = True
    per_day: float | None = None
    reading_minutes: float | None = None
    readers: int | None = None
    history_days: int = 28


@dataclass(frozen=True, slots=True)
class Setup:
    """The room that is simulated, and in words where each part of it is from."""

    traffic: Traffic
    population: Population
    sources: tuple[str, ...]


def setup(settings: Settings, ledger: Ledger | None, room: Room) -> Setup:
    """Build the room.

    Parameters
    ----------
    ledger
        Not needed where ``room`` says everything.

    Raises
    ------
    ConfigurationError
        The ledger knows too little of what was not given; the text says which option gives it.
    """
    traffic, sources = _traffic(settings, ledger, room)
    if room.findings:
        targets = settings.triage.target_minutes
        population = by_operating_points(
            room.findings, targets.high, targets.review, hierarchical=room.hierarchical
        )
        return Setup(traffic, population, (*sources, "findings: as given"))
    found = None
    if ledger is not None:
        with ledger.read() as connection:
            found = site.population_of(reading_room.placed_audits(connection, 0.0))
    if found is None:
        raise ConfigurationError(
            f"The audit has not yet {site.LEAST_AUDITS} studies with a finding and as many without: say "
            "where the model operates, e.g. --finding pneumonia=0.1,0.9,0.9 (prevalence, sensitivity, "
            "specificity)."
        )
    return Setup(
        traffic, found, (*sources, f"findings, tiers and targets: {found.group.size} audited studies")
    )


def ask(setup: Setup, rule: Rule, *, days: int, runs: int, seed: int, on_run: Callable[[], object]) -> Answer:
    """Simulate.

    Raises
    ------
    ConfigurationError
        What was asked for can't be simulated.
    """
    try:
        return answer(
            setup.traffic, setup.population, rule, days=days, runs=runs, seed=seed, on_progress=on_run
        )
    except ValueError as error:
        raise ConfigurationError(f"This room can't be simulated: {error}.") from error


def theory(setup: Setup, room: Room, rule: Rule) -> dict[str, float]:
    """Return the minutes saved by the closed form, by group; empty where there is none.

    There is none for the read-by rule, for a site's own days, and where the readers can't keep up.
    """
    traffic = setup.traffic
    known = {Rule.NON_PREEMPTIVE, Rule.PREEMPTIVE}
    by_chance = isinstance(traffic.arrivals, PoissonArrivals) and isinstance(
        traffic.reading, ExponentialReading
    )
    if not by_chance or not room.findings or rule not in known or traffic.utilisation >= 1.0:
        return {}
    load = Load(traffic.arrivals.per_day / DAY_MINUTES, traffic.reading.mean, traffic.readers)
    said = savings(load, room.findings, Discipline(rule.value), hierarchical=room.hierarchical)
    return {one.group: one.saved for one in said}


def document(said: Answer, setup: Setup, closed_form: dict[str, float]) -> dict[str, Any]:
    """Return the answer as JSON has it: no NaN, None instead."""
    return {**_plain(asdict(said)), "sources": list(setup.sources), "closed_form_saved": closed_form}


def draw(said: Answer, folder: Path) -> list[Path]:
    """Write the plots as SVG files; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {"saved.svg": plots.by_group_and_tier(said)}
    pictures |= {f"by-hour-{number}.svg": plots.by_hour(said, name) for number, name in enumerate(said.hours)}
    for name, text in pictures.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in pictures]


def finding_point(text: str) -> FindingPoint:
    """Return the finding that an option says: ``NAME=PREVALENCE,SENSITIVITY,SPECIFICITY``.

    Raises
    ------
    ConfigurationError
        It is not of that form, or a figure is not between 0 and 1.
    """
    name, _, figures = text.partition("=")
    try:
        prevalence, sensitivity, specificity = (float(one) for one in figures.split(","))
        return FindingPoint(name, prevalence, sensitivity, specificity)
    except ValueError as error:
        raise ConfigurationError(
            f"--finding takes NAME=PREVALENCE,SENSITIVITY,SPECIFICITY, each between 0 and 1, not {text!r}."
        ) from error


def _traffic(settings: Settings, ledger: Ledger | None, room: Room) -> tuple[Traffic, list[str]]:
    since = now() - room.history_days * _DAY
    signed: list[reading_room.Signed] = []
    arrived: list[float] = []
    if ledger is not None:
        with ledger.read() as connection:
            signed, arrived = reading_room.signed(connection, since), reading_room.arrivals(connection, since)
    arrivals, when = _arrivals(settings, arrived, room)
    reading, how_long = _reading(signed, room)
    readers = room.readers or site.readers_at_work(signed)
    who = f"readers: {readers}, {'as given' if room.readers else 'as many as sign in an hour'}"
    return Traffic(arrivals, reading, readers), [when, how_long, who]


def _arrivals(settings: Settings, arrived: Sequence[float], room: Room) -> tuple[Arrivals, str]:
    if room.per_day is not None:
        return PoissonArrivals(room.per_day), f"arrivals: at random, {room.per_day:g} a day, as given"
    zone = ZoneInfo(settings.site.timezone)
    days = site.days_of(arrived, zone, datetime.fromtimestamp(now(), zone).date())
    if len(days) < site.LEAST_DAYS:
        raise ConfigurationError(
            f"The ledger knows {len(days)} whole days of arrivals, and {site.LEAST_DAYS} are needed: give a "
            "number of studies, e.g. --per-day 120."
        )
    return ObservedDays(days), f"arrivals: the site's last {len(days)} whole days"


def _reading(signed: Sequence[reading_room.Signed], room: Room) -> tuple[Reading, str]:
    if room.reading_minutes is not None:
        mean = room.reading_minutes
        return ExponentialReading(mean), f"reading times: exponential, mean {mean:g} min, as given"
    minutes = site.reading_times(signed)
    if minutes.size < site.LEAST_READS:
        raise ConfigurationError(
            f"The ledger knows {minutes.size} reading times of the last {room.history_days} days, and "
            f"{site.LEAST_READS} are needed: give the mean, e.g. --reading-minutes 5."
        )
    return ObservedReading(
        minutes
    ), f"reading times: {minutes.size} of the site, mean {minutes.mean():.1f} min"


def _plain(value: Any) -> Any:
    """Return a document in which what is no finite number is None."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value
