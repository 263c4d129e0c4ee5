"""Bytes from outside, mangled: each instance ends with a kind and a reason, and no worker is stopped."""

import random
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select

from orthanc_al.domain.criteria import Criteria
from orthanc_al.ledger import Ledger
from orthanc_al.ledger.schema import instances, jobs
from orthanc_al.score.match import ModelUse
from tests.support.pipeline import Pipeline
from tests.support.radiographs import wrap
from tests.support.tiny_package import tiny_package

CASES = 120
DX = "1.2.840.10008.5.1.4.1.1.1.1"
SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
    "1.2.3.4",
)


def _mangled(rng: random.Random, good: bytes) -> bytes:
    """Cut, flip, repeat or invent: what broken devices and broken networks do."""
    kind = rng.randrange(5)
    if kind == 0:
        return good[: rng.randrange(len(good))]
    if kind == 1:
        bad = bytearray(good)
        for _ in range(rng.randrange(1, 40)):
            bad[rng.randrange(min(len(bad), 1500))] = rng.randrange(256)
        return bytes(bad)
    if kind == 2:
        start = rng.randrange(min(len(good), 1500))
        return good[:start] + good[start : start + rng.randrange(1, 300)] * 3 + good[start:]
    if kind == 3:
        return rng.randbytes(rng.randrange(0, 3000))
    start = rng.randrange(min(len(good), 1500))
    return good[:start] + b"\xff" * 4 + good[start + 4 :]  # undefined length where none is expected


@pytest.mark.parametrize("seed", range(3))
def test_mangled_data_sets_end_with_a_kind_and_a_reason(
    ledger: Ledger, tmp_path: Path, grey: NDArray[np.uint8], seed: int
) -> None:
    rng = random.Random(seed)
    pipeline = Pipeline(ledger, tmp_path, ModelUse("tiny", Criteria(("CR", "DX"))))
    pipeline.install(tiny_package(tmp_path / "package"))
    path = tmp_path / "good.dcm"
    wrap(grey, 0).save_as(path, enforce_file_format=True)
    raw = path.read_bytes()
    good = raw[144 + int.from_bytes(raw[140:144], "little") :]
    for number in range(CASES // 3):
        pipeline.receive_bytes(_mangled(rng, good), DX, f"1.2.{seed}.{number}", rng.choice(SYNTAXES))
    pipeline.work(10_000)
    with ledger.read() as connection:
        received = connection.execute(select(instances.c.kind, instances.c.reason)).all()
        # What is put back for another try is a slip of the program, never of the data.
        tried_again = connection.execute(select(jobs.c.step, jobs.c.error).where(jobs.c.attempts > 0)).all()
    assert len(received) == CASES // 3
    assert all(row.kind is not None for row in received)
    assert all(row.reason for row in received if row.kind == "unusable")
    assert not tried_again
