"""How long films took from their receipt to the destination's answer, as the ledger has it."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import select

from orthanc_al.ledger.schema import deliveries, instances
from tests.support.site import Site


@dataclass(frozen=True)
class Delays:
    """Milliseconds: the median and the 99th percentile."""

    p50: float
    p99: float

    def __str__(self) -> str:
        return f"{self.p50:.0f}/{self.p99:.0f}"


def delays(site: Site, destination: str, since: int = 0) -> Delays:
    """Return the delays of what was delivered to a destination, but for the first ``since`` received."""
    query = (
        select(instances.c.received_at, deliveries.c.done_at)
        .join(deliveries, deliveries.c.instance_id == instances.c.id)
        .where(
            deliveries.c.destination == destination,
            deliveries.c.done_at.is_not(None),
            instances.c.origin == "dicom",
        )
        .order_by(instances.c.received_at)
        .offset(since)
        .limit(1_000_000)
    )
    with site.ledger() as ledger, ledger.read() as connection:
        took = [1000 * (done - received) for received, done in connection.execute(query)]
    return Delays(*np.percentile(took, (50, 99))) if took else Delays(float("nan"), float("nan"))
