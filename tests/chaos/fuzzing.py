"""Mutated streams of PDUs against the data path (`tests.chaos.fuzz_pdu`)."""

import time

from orthanc_al.observe import configure_logging
from tests.chaos.disks import small_disk
from tests.chaos.fuzz_pdu import fuzz
from tests.chaos.verdict import Line, Plan


def run(plan: Plan) -> list[Line]:
    """Send them, and say how they ended."""
    streams = 1000 if plan.short else plan.streams
    configure_logging("CRITICAL")
    began = time.monotonic()
    with small_disk(plan.folder, 256):  # in memory: what a disk takes for an fsync is not the matter here
        verdict = fuzz(streams, plan.seed, plan.folder)
    ends = ", ".join(f"{outcome} {number}" for outcome, number in verdict.outcomes.most_common())
    seen = (
        f"{streams} streams in {time.monotonic() - began:.0f} s ({ends}); {verdict.stored} objects "
        f"acknowledged, each file has its owner; peak memory grew by {verdict.growth_megabytes:.1f} MB; "
        f"the slowest took {verdict.slowest_seconds:.2f} s"
    )
    return [Line("mutated PDU streams", seen, tuple(verdict.faults[:5]))]
