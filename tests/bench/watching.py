"""What the measures look at from outside: files that arrive in a folder, what processes take, idleness."""

import os
import time
from pathlib import Path

from orthanc_al.ledger import Ledger
from orthanc_al.service.running import is_idle
from tests.support.site import wait_until

_POLL_SECONDS = 0.003
_STILL_SECONDS = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")


def names(folder: Path) -> set[str]:
    """Return the names in a folder."""
    return {path.name for path in folder.iterdir()}


def arrival(
    folder: Path, known: set[str], count: int, least_megabytes: float = 0.0, seconds: float = 300.0
) -> float:
    """Wait until ``count`` files beside ``known`` are whole, and return when they were.

    They are whole when they hold as many bytes as were sent at least, and do not grow for 50 ms; the moment
    (`time.perf_counter`) is that of their last growth, to 3 ms.
    """
    deadline = time.perf_counter() + seconds
    size, grown_at = -1, 0.0
    while time.perf_counter() < deadline:
        time.sleep(_POLL_SECONDS)
        new = names(folder) - known
        if len(new) < count:
            continue
        sizes = [(folder / name).stat().st_size for name in new]
        if sum(sizes) != size:
            size, grown_at = sum(sizes), time.perf_counter()
        elif all(sizes) and size >= least_megabytes * 1e6 and time.perf_counter() - grown_at > _STILL_SECONDS:
            return grown_at
    raise RuntimeError(f"{folder.name}: {len(names(folder) - known)} of {count} files arrived")


def quiesce(ledger: Ledger | None = None) -> None:
    """Wait until our service has nothing to do, and the disk nothing to write: no one pays for another."""
    if ledger is not None:
        wait_until(lambda: is_idle(ledger), 120, "the service did not come to rest")
    os.sync()


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process and its children took so far."""
    stats = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stats[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
    family = {pid}
    while more := {child for child, stat in stats.items() if int(stat[1]) in family} - family:
        family |= more
    return sum(int(ticks) for one in family for ticks in stats[one][11:15]) / _TICKS


def peak_megabytes(pid: int) -> float:
    """Return the most memory that a process held at once (VmHWM), in 10**6 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"process {pid} has no VmHWM")
