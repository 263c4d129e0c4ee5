"""Metrics in the text format of Prometheus, computed from the ledger when they are asked for.

No label holds a patient, a study or a UID, and no figure tells a blind study from one without a score.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from orthanc_al.ledger import deliveries, destinations, figures, monitoring, waiting
from orthanc_al.ledger.monitoring import Point
from orthanc_al.web import readiness
from orthanc_al.web.context import Context

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX: Final = "orthanc_al_"
_Samples = Iterable[tuple[Sequence[str], float]]
_Family = TypeVar("_Family", GaugeMetricFamily, CounterMetricFamily)


def exposition(context: Context) -> bytes:
    """Return all metrics as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FromLedger(context))
    return generate_latest(registry)


class _FromLedger(Collector):
    def __init__(self, context: Context) -> None:
        self._context = context

    def describe(self) -> Iterable[Metric]:
        """Name nothing in advance: the registry need not read the ledger to take this collector in."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read the ledger."""
        yield from _of_service(self._context)
        with self._context.ledger.read() as connection:
            yield from _of_instances(connection)
            yield from _of_deliveries(connection, self._context.clock())
            yield from _of_studies(connection, self._context)
            yield from _of_monitor(connection)


def _of_service(context: Context) -> Iterator[Metric]:
    state = readiness.check(context)
    yield _gauge("ready", "1 where /readyz says so", [], [((), float(state.ready))])
    yield _gauge("scoring_paused", "1 while scoring is paused", [], [((), float(state.paused))])
    yield _gauge(
        "queue_lag_seconds", "How long the oldest job is overdue", [], [((), state.queue_lag_seconds)]
    )
    if state.spool_free_bytes is not None:
        yield _gauge(
            "spool_free_bytes", "Free space on the spool's disk", [], [((), float(state.spool_free_bytes))]
        )
    alive = {(role,): float(process.alive) for role, process in state.processes.items()}
    restarts = {(role,): process.restarts for role, process in state.processes.items()}
    yield _gauge("process_up", "1 where the process of a role lives", ["role"], alive.items())
    yield _counter("process_restarts", "Restarts of the process of a role", ["role"], restarts.items())


def _of_instances(connection: Connection) -> Iterator[Metric]:
    received = {(origin,): count for origin, count in figures.instances_received(connection).items()}
    yield _counter(
        "instances_received", "Instances by origin (dicom, orthanc, own)", ["origin"], received.items()
    )
    unusable = figures.instances_unusable(connection)
    yield _counter("instances_unusable", "Instances forwarded that can't be read", [], [((), unusable)])


def _of_deliveries(connection: Connection, now: float) -> Iterator[Metric]:
    counted = {(place, state.value): n for (place, state), n in deliveries.counts(connection).items()}
    yield _gauge(
        "deliveries", "Deliveries by destination and state", ["destination", "state"], counted.items()
    )
    ages = {(place,): max(0.0, now - at) for place, at in deliveries.oldest_waiting(connection).items()}
    yield _gauge(
        "delivery_oldest_waiting_seconds", "Age of the oldest instance waiting", ["destination"], ages.items()
    )
    troubled = {(name, one.fault): 1.0 for name, one in destinations.known(connection).items() if one.fault}
    yield _gauge(
        "destination_in_trouble",
        "1 while a destination is left alone, by what is wrong",
        ["destination", "fault"],
        troubled.items(),
    )


def _of_studies(connection: Connection, context: Context) -> Iterator[Metric]:
    jobs = {tuple(key): count for key, count in waiting.counts(connection).items()}
    yield _gauge(
        "jobs", "Jobs by step and state; quarantined ones wait for requeue", ["step", "state"], jobs.items()
    )
    states = {(state,): count for state, count in figures.studies_by_state(connection).items()}
    yield _gauge("studies", "Studies by state, as the worklist shows it", ["state"], states.items())
    scored = figures.studies_scored(connection)
    yield _gauge(
        "studies_scored", "Studies with a result that is shown", ["model", "version"], scored.items()
    )
    today = datetime.fromtimestamp(context.clock(), context.zone).date().isoformat()
    drawn = figures.selections_by_day(connection, today)
    yield _gauge(
        "selections", "Studies drawn, by kind and day, once the day is over", ["kind", "day"], drawn.items()
    )


def _of_monitor(connection: Connection) -> Iterator[Metric]:
    seen = monitoring.latest(connection)
    labels = ["model", "measure", "finding", "part"]

    def of(value: Callable[[Point], float]) -> _Samples:
        return [
            ((one.model_name, one.point.measure, one.point.finding, one.point.part), value(one.point))
            for one in seen
        ]

    yield _gauge("monitor_value", "What the monitor saw of the newest day", labels, of(lambda one: one.value))
    alarms = of(lambda one: float(one.alarm))
    yield _gauge("monitor_alarm", "1 where the monitor calls to look", labels, alarms)
    days = {
        (one.model_name,): datetime.fromisoformat(one.day).replace(tzinfo=UTC).timestamp() for one in seen
    }
    yield _gauge(
        "monitor_day_timestamp_seconds", "The newest day that was looked at", ["model"], days.items()
    )


def _gauge(name: str, text: str, labels: list[str], samples: _Samples) -> GaugeMetricFamily:
    return _filled(GaugeMetricFamily(_PREFIX + name, text, labels=labels), samples)


def _counter(name: str, text: str, labels: list[str], samples: _Samples) -> CounterMetricFamily:
    return _filled(CounterMetricFamily(_PREFIX + name, text, labels=labels), samples)


def _filled(family: _Family, samples: _Samples) -> _Family:
    for labels, value in sorted(samples):
        family.add_metric(list(labels), value)
    return family
