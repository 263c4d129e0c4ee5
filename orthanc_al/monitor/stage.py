"""The step ``monitor``: each day of the site that is over, looked at for one model."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from sqlalchemy import Connection

from orthanc_al.ledger import Job, Ledger, Outcome, learning, monitoring, response
from orthanc_al.ledger.learning import LabelledCase
from orthanc_al.ledger.monitoring import Point
from orthanc_al.ledger.response import Response
from orthanc_al.monitor import performance, watch
from orthanc_al.monitor.guarantee import Evidence, Promise, standing
from orthanc_al.monitor.looking import Live, Reference, audits_of, live_package, sample
from orthanc_al.monitor.watch import Head, Sample
from orthanc_al.observe import Clock, logger, now

LEAST_REFERENCE: Final = 100
"""Studies that a reference takes, however long that is."""

WEEK: Final = "7 days"
"""Part of a point that is of the day and the six before it."""

_BORROWED_DAYS: Final = 7
_CATCH_UP_DAYS: Final = 30
_DAY: Final = 86400.0
_log = logger("monitor")


@dataclass(frozen=True, slots=True)
class Watch:
    """How the monitor looks: ``[monitor]`` of the configuration.

    Attributes
    ----------
    reference_days
        The first days of a backbone at the site are what later ones are compared with.
    window_days
        How far back performance is taken from.
    alpha
        A test's p-value below is an alarm.
    """

    reference_days: int = 28
    window_days: int = 90
    alpha: float = 0.001


class MonitorStage:
    """Looks at the days since it last did, yesterday among them always.

    Parameters
    ----------
    ledger
        Where all of it is.
    watching, promise
        How it looks, and what the tiers promise.
    unread_after_seconds
        How long an audit may wait for its read.
    zone
        The site's: its days are looked at.
    clock
        Seconds since 1970; tests pass their own.
    """

    def __init__(
        self,
        ledger: Ledger,
        watching: Watch,
        promise: Promise,
        unread_after_seconds: float,
        zone: ZoneInfo,
        clock: Clock = now,
    ) -> None:
        self._ledger = ledger
        self._watch = watching
        self._promise = promise
        self._unread_after = unread_after_seconds
        self._zone = zone
        self._clock = clock

    def run(self, job: Job) -> Outcome:
        """Look at the model that is the job's subject; outcome alarm or quiet.

        Raises
        ------
        ModelError
            No package of that name is live.
        PackageRefusedError
            The live package does not hold.
        """
        with self._ledger.read() as connection:
            live = live_package(connection, job.subject, self._promise.groups)
            days = self._days(monitoring.last_day(connection, job.subject))
            seen = {day: self._look(connection, live, day) for day in days}
        alarms = [point for point in seen[days[-1]] if point.alarm]
        for point in alarms:
            _log.warning("drift_alarm", model=job.subject, measure=point.measure, reason=point.reason)

        def write(connection: Connection) -> None:
            for day, points in seen.items():
                monitoring.put(connection, job.subject, day.isoformat(), points, self._clock())

        return Outcome("alarm" if alarms else "quiet", write)

    def _days(self, last: str | None) -> list[date]:
        """Return the days to look at: those since the last that was, and yesterday."""
        yesterday = datetime.fromtimestamp(self._clock(), self._zone).date() - timedelta(days=1)
        first = date.fromisoformat(last) + timedelta(days=1) if last else yesterday
        first = max(min(first, yesterday), yesterday - timedelta(days=_CATCH_UP_DAYS))
        return [first + timedelta(days=n) for n in range((yesterday - first).days + 1)]

    def _look(self, connection: Connection, live: Live, day: date) -> list[Point]:
        start, end = self._ends(day)
        since = end - self._watch.window_days * _DAY
        answered = response.audit_response(connection, end - self._unread_after)
        cases = [case for case in learning.labelled_cases(connection, live.family) if case.arrived_at < end]
        reads = monitoring.reads_beside(connection, live.family, since, end)
        points = [*self._burden(connection, day), *self._drift(connection, live, start, end)]
        points.append(
            Point(
                "audit_unread",
                answered.unread_share,
                answered.drawn,
                alarm=answered.unread_share > self._promise.max_unread_share,
                reason="share of the audits that gave no label in time",
            )
        )
        folds = learning.folds(connection)
        for head in live.heads:
            audits = audits_of(cases, head.name, folds)
            drifted = self._audit_drift(head, audits, since)
            doubt = next((one.reason for one in drifted if one.measure == "disease_mix" and one.alarm), "")
            entry = next(one for one in live.package.manifest.findings if one.name == head.name)
            evidence = Evidence(
                entry.thresholds, live.retrained, answered, doubt, float(self._watch.window_days)
            )
            points += drifted
            basis = performance.Basis(live.made_at, entry.thresholds, self._promise.groups)
            lately = [case for case in audits if case.arrived_at >= since]
            points += performance.of_audit(head, lately, basis)
            points += _worst_case(head.name, answered)
            points += performance.of_readers(head, reads)
            points += standing(self._promise, head.name, audits, evidence, end)
        return points

    def _burden(self, connection: Connection, day: date) -> list[Point]:
        spent = monitoring.burden(connection, day.isoformat(), *self._ends(day))
        drawn = spent.audits + spent.queries
        return [
            Point("drawn_audits", float(spent.audits), drawn, reason="studies drawn for the blind audit"),
            Point("drawn_queries", float(spent.queries), drawn, reason="studies asked of the radiologist"),
            Point(
                "signed", float(spent.signed), drawn, reason="drawn studies whose read was signed that day"
            ),
        ]

    def _drift(self, connection: Connection, live: Live, start: float, end: float) -> list[Point]:
        """Return how far the day's studies are from the reference; too few of either say nothing."""
        today = self._borrowed(connection, live, start, end)
        if today.size < watch.LEAST_STUDIES:
            return []
        alpha = self._watch.alpha
        points = [watch.outside(today, alpha)] if live.package.contents.domain is not None else []
        reference = self._reference(connection, live, start)
        if not reference.complete:
            return [*points, _collecting(reference.studies.size, self._watch.reference_days)]
        points += _compared(live, reference.studies, today, alpha)
        week = self._sample(monitoring.scored(connection, live.family, end - _BORROWED_DAYS * _DAY, end))
        if week.size > today.size:  # a small change that lasts: no single day tells it
            lasting = _compared(live, reference.studies, week, alpha)
            points += [replace(point, part=WEEK) for point in lasting]
        return points

    def _borrowed(self, connection: Connection, live: Live, start: float, end: float) -> Sample:
        """Return the day's studies, with those of up to six days before it where they are few."""
        since = start
        for back in range(_BORROWED_DAYS):
            since = start - back * _DAY
            found = monitoring.scored(connection, live.family, since, end)
            if len(found) >= watch.LEAST_STUDIES:
                break
        return self._sample(found)

    def _reference(self, connection: Connection, live: Live, before: float) -> Reference:
        """Return the studies of the network's first days here, and longer where they are few."""
        first = monitoring.first_scored_at(connection, live.family) or before
        until = first + self._watch.reference_days * _DAY
        found = monitoring.scored(connection, live.family, first, min(until, before))
        if len(found) < LEAST_REFERENCE:
            found = monitoring.scored(connection, live.family, first, before)[:LEAST_REFERENCE]
        return Reference(self._sample(found), complete=until <= before and len(found) >= LEAST_REFERENCE)

    def _sample(self, studies: list[monitoring.Scored]) -> Sample:
        return sample(studies, self._promise.groups)

    def _audit_drift(self, head: Head, audits: list[LabelledCase], since: float) -> list[Point]:
        lately = [case for case in audits if case.arrived_at >= since]
        before = [case for case in audits if case.arrived_at < since]
        points = watch.positive_rate(
            head.name, [case.present for case in audits], max(1, len(lately)), self._watch.alpha
        )
        old, new = (
            np.array([case.embedding for case in part if case.present], np.float64)
            for part in (before, lately)
        )
        return points + watch.positive_scores(head, old, new, self._watch.alpha)

    def _ends(self, day: date) -> tuple[float, float]:
        """Return when a day of the site begins and ends, in seconds since 1970."""
        begins = [
            datetime(one.year, one.month, one.day, tzinfo=self._zone) for one in (day, day + timedelta(1))
        ]
        return begins[0].astimezone(UTC).timestamp(), begins[1].astimezone(UTC).timestamp()


def _compared(live: Live, reference: Sample, today: Sample, alpha: float) -> list[Point]:
    if min(len(reference.finite), len(today.finite)) < watch.LEAST_STUDIES:
        return []  # no numbers to compare: the share outside of the domain tells
    found = watch.embeddings(reference, today, alpha)
    return found + [point for head in live.heads for point in watch.scores(head, reference, today, alpha)]


def _worst_case(finding: str, answered: Response) -> list[Point]:
    """Return what the unread audits can hide at worst, once an audit is known to have the finding."""
    known = sum(one.answered for one in answered.tiers if one.finding == finding)
    if not known:
        return []
    said = "positives that would be missed, had each unread audit the finding and were ranked low"
    return [Point("worst_miss_rate", answered.worst_miss_rate(finding), known, finding=finding, reason=said)]


def _collecting(have: int, days: int) -> Point:
    return Point(
        "reference",
        float(have),
        have,
        reason=f"{have} studies so far: the reference is the first {days} days of this network here and at "
        f"least {LEAST_REFERENCE} studies; until then the training's domain alone is looked at",
    )
