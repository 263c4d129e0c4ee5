"""Instances in a ledger without their files, as far along as a test wants them."""

from sqlalchemy import update

from orthanc_al.domain import Instance, Origin
from orthanc_al.ledger import Ledger, instances
from orthanc_al.ledger.schema import jobs
from orthanc_al.pipeline import Step

SLICE = 500_000
"""Bytes of a slice."""


def arrive(
    ledger: Ledger,
    *ids: str,
    step: Step = Step.ARRIVE,
    study: str = "1.2",
    modality: str = "CT",
    size: int = SLICE,
) -> None:
    """Take instances in, as far along as to wait for ``step``."""
    origin = Origin("SENDER", "ORTHANC_AL", "ORTHANC_AL", "sender", None, "dicom")
    with ledger.write() as connection:
        for number, one in enumerate(ids):
            instance = Instance(
                one, "1.2.840", f"1.2.{one}", "1.2.1", size, 1.0 + number, study, None, modality, None
            )
            instances.add(connection, instance, origin, [])
        connection.execute(update(jobs).where(jobs.c.subject.in_(ids)).values(step=step.value))
