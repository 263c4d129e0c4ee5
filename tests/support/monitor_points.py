"""What the monitor saw in thirty days of a made-up site: for the tests of the page and for looking at it."""

import random
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from orthanc_al.ledger import monitoring
from orthanc_al.ledger.monitoring import Point

MODEL = "cxr-pneumonia"


def points_of(day: int, days: int, draw: random.Random) -> list[Point]:
    """Return the points of a day; on the last one a scanner has changed."""
    last = day == days - 1
    auc = 0.95 + draw.uniform(-0.01, 0.01)
    p = 2e-9 if last else draw.uniform(0.01, 1.0)
    return [
        Point(
            "embedding_energy",
            0.4 if last else draw.uniform(0.0, 0.05),
            43,
            p_value=p,
            alarm=last,
            reason=f"energy distance of the studies' embeddings from the reference's (p = {p:.2g})"
            + (": a scanner, a protocol or the patients may have changed" if last else ""),
        ),
        Point(
            "outside_domain", draw.uniform(0.0, 0.03), 43, p_value=0.4, reason="1 of 43 studies is outside"
        ),
        Point("drawn_audits", float(draw.randint(2, 6)), 20, reason="studies drawn for the blind audit"),
        Point(
            "signed", float(draw.randint(10, 20)), 20, reason="drawn studies whose read was signed that day"
        ),
        Point("auc", auc, 210, "pneumonia", low=auc - 0.04, high=auc + 0.03),
        Point(
            "guarantee",
            0.0,
            12,
            "pneumonia",
            reason="Nothing is ranked low: 12 audited positives for its border, 45 needed. 33 are missing.",
        ),
    ]


def put_points(connection: Connection, now: float, days: int = 30) -> None:
    """Write ``days`` days up to the day before ``now``."""
    draw = random.Random(5)
    for day in range(days):
        date = datetime.fromtimestamp(now, UTC).date() - timedelta(days=days - day)
        monitoring.put(connection, MODEL, date.isoformat(), points_of(day, days, draw), now)
