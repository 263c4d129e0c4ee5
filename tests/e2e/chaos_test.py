"""The short form of `make chaos`: parts of the matrix of faults, each in namespaces of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.site import ROOT

pytestmark = [pytest.mark.needs_dcmtk, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("part", ["kill", "disk"])
def test_the_promises_hold(part: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.chaos.run", "--short", "--only", part),
            *("--folder", str(tmp_path), "--results", str(tmp_path / "results")),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=580,
        check=False,
    )
    if "Operation not permitted" in done.stderr and os.environ.get("CI") != "true":
        pytest.skip("no right to make namespaces here")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "held" in done.stdout
