"""What NVIDIA's driver says of the GPU: its name, and the memory that all processes have of it.

By `nvidia-smi`, which comes with the driver; where it is missing, the figures that need it are left out.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass

_ASKED = "name,driver_version,memory.used,memory.total"


@dataclass(frozen=True)
class Gpu:
    """A GPU; ``used`` and ``total`` in MiB, None where the driver does not tell."""

    name: str
    driver: str
    used: float | None
    total: float | None

    def __str__(self) -> str:
        memory = "" if self.total is None else f", {self.total:,.0f} MiB"
        return f"{self.name}{memory}, driver {self.driver}"


def gpu() -> Gpu | None:
    """Return the first of the GPUs that this process may use; None where the driver tells of none."""
    if shutil.which("nvidia-smi") is None:
        return None
    # The driver counts from 0, or takes the UUID that CUDA_VISIBLE_DEVICES may hold.
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip() or "0"
    command = ["nvidia-smi", f"--id={first}", f"--query-gpu={_ASKED}", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return parsed(told)


def parsed(told: str) -> Gpu | None:
    """Return what a line of `nvidia-smi` says; None where it is none."""
    cells = [cell.strip() for cell in told.partition("\n")[0].split(",")]
    if len(cells) != len(_ASKED.split(",")):
        return None
    name, driver, *memory = cells
    return Gpu(name, driver, *(_number(cell) for cell in memory))


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:  # [N/A] where memory is the processor's, [Insufficient Permissions] in a part of a GPU
        return None
