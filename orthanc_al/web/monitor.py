"""The API of what the monitor saw."""

from datetime import datetime, timedelta
from itertools import groupby
from typing import Annotated, Final

from fastapi import APIRouter, Query

from orthanc_al.ledger import monitoring
from orthanc_al.ledger.monitoring import StoredPoint
from orthanc_al.web.context import Context, Here
from orthanc_al.web.schemas import MonitorDay, MonitorPoint

api_router = APIRouter(prefix="/api/v1")

DAYS_SHOWN: Final = 90


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


def _series(here: Context, days: int) -> list[StoredPoint]:
    since = datetime.fromtimestamp(here.clock(), here.zone).date() - timedelta(days=days)
    with here.ledger.read() as connection:
        return monitoring.series(connection, since.isoformat())
