"""The page and the API of what the monitor saw, with a small plot of each figure over time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from orthanc_al.ledger import monitoring
from orthanc_al.ledger.monitoring import Point, StoredPoint
from orthanc_al.web.context import Context, Here
from orthanc_al.web.frame import Page
from orthanc_al.web.schemas import MonitorDay, MonitorPoint

api_router = APIRouter(prefix="/api/v1")
router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

DAYS_SHOWN: Final = 90
WIDTH, HEIGHT, EDGE = 160, 36, 3

# measure -> what the page calls it, by section
DRIFT: Final = {
    "outside_domain": "Outside of the model's domain",
    "embedding_mahalanobis": "Embeddings: distance from the training",
    "embedding_energy": "Embeddings: distance from the reference",
    "score_ks": "Scores: Kolmogorov-Smirnov",
    "score_psi": "Scores: population stability index",
    "prediction_mix": "Mix of tiers",
    "disease_mix": "Scores of audited positives",
    "audit_rate_rise": "Audited positives: a rise",
    "audit_rate_fall": "Audited positives: a fall",
    "audit_unread": "Audits without a label in time",
    "reference": "Reference",
}
PERFORMANCE: Final = {
    "positive_rate": "Share with the finding",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "auc": "AUC",
    "miss_rate": "Positives ranked low",
    "worst_miss_rate": "Positives ranked low, at worst",
    "calibration_gap": "Calibration gap",
    "disagreement": "Readers disagree",
    "automation_bias": "Agreement more with the result in view",
}
BURDEN: Final = {
    "drawn_audits": "Drawn for the audit",
    "drawn_queries": "Asked of the radiologist",
    "signed": "Signed",
}


@dataclass(frozen=True, slots=True)
class Spark:
    """A plot of a figure over days, as the coordinates of an SVG of `WIDTH` x `HEIGHT`.

    Attributes
    ----------
    line, band
        Points of a polyline, and of the polygon of its interval (empty where it has none).
    alarms
        Where days with an alarm lie.
    low, high
        The figures at the lower and the upper edge.
    days
        How many are drawn.
    """

    line: str
    band: str
    alarms: tuple[tuple[float, float], ...]
    low: float
    high: float
    days: int


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the page: the newest figure, its name, and how it came there."""

    name: str
    point: Point
    spark: Spark


@dataclass(frozen=True, slots=True)
class ModelView:
    """What the page shows of a model."""

    name: str
    day: str
    alarms: tuple[Row, ...]
    guarantee: tuple[Point, ...]
    drift: tuple[Row, ...]
    performance: tuple[Row, ...]
    burden: tuple[Row, ...]


@router.get("/monitor")
def show_monitor(here: Here, frame: Page) -> str:
    """Show drift, performance, burden and the guarantee of each model."""
    return frame.render("monitor.html", models=views(_series(here, DAYS_SHOWN)), shown_days=DAYS_SHOWN)


@api_router.get("/monitor")
def read_monitor(
    here: Here, days: Annotated[int, Query(ge=1, le=3660, description="How many days back.")] = DAYS_SHOWN
) -> list[MonitorDay]:
    """Return what the monitor saw of each model and day, the newest day first."""
    stored = sorted(_series(here, days), key=lambda one: (one.day, one.model_name), reverse=True)
    return [
        MonitorDay(
            model_name=name,
            day=day,
            points=[MonitorPoint.model_validate(one.point, from_attributes=True) for one in own],
        )
        for (day, name), own in groupby(stored, key=lambda one: (one.day, one.model_name))
    ]


def views(stored: Iterable[StoredPoint]) -> list[ModelView]:
    """Return what the page shows, a model each."""
    return [
        _view(name, list(own))
        for name, own in groupby(
            sorted(stored, key=lambda one: (one.model_name, one.day)), key=lambda one: one.model_name
        )
    ]


def spark(points: Sequence[Point]) -> Spark:
    """Return the plot of points in the order of their days; a single one is a dot at the right."""
    edges = [edge for one in points for edge in (one.low, one.value, one.high) if edge is not None]
    low, high = min(edges), max(edges)
    step = (WIDTH - 2 * EDGE) / max(1, len(points) - 1)

    def at(number: int, value: float) -> tuple[float, float]:
        up = (value - low) / (high - low) if high > low else 0.5
        right = WIDTH - EDGE - (len(points) - 1 - number) * step
        return round(right, 1), round(HEIGHT - EDGE - up * (HEIGHT - 2 * EDGE), 1)

    upper = [at(n, one.high) for n, one in enumerate(points) if one.high is not None]
    lower = [at(n, one.low) for n, one in enumerate(points) if one.low is not None]
    return Spark(
        line=_joined([at(n, one.value) for n, one in enumerate(points)]),
        band=_joined([*upper, *reversed(lower)]) if len(upper) > 1 and len(lower) > 1 else "",
        alarms=tuple(at(n, one.value) for n, one in enumerate(points) if one.alarm),
        low=low,
        high=high,
        days=len(points),
    )


def _series(here: Context, days: int) -> list[StoredPoint]:
    since = datetime.fromtimestamp(here.clock(), here.zone).date() - timedelta(days=days)
    with here.ledger.read() as connection:
        return monitoring.series(connection, since.isoformat())


def _view(name: str, stored: list[StoredPoint]) -> ModelView:
    newest = stored[-1].day
    history: dict[tuple[str, str, str], list[Point]] = {}
    for one in stored:
        history.setdefault((one.point.measure, one.point.finding, one.point.part), []).append(one.point)
    today = [one.point for one in stored if one.day == newest]

    def rows(names: dict[str, str]) -> tuple[Row, ...]:
        found = sorted(
            (point for point in today if point.measure in names),
            key=lambda one: (one.finding, list(names).index(one.measure), one.part),
        )
        return tuple(
            Row(names[one.measure], one, spark(history[one.measure, one.finding, one.part])) for one in found
        )

    return ModelView(
        name=name,
        day=newest,
        alarms=tuple(row for row in rows(DRIFT) if row.point.alarm),
        guarantee=tuple(point for point in today if point.measure == "guarantee"),
        drift=rows(DRIFT),
        performance=rows(PERFORMANCE),
        burden=rows(BURDEN),
    )


def _joined(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in places)
