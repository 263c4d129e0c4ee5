"""Names of workers, by which a new process knows the jobs of its dead predecessor."""

import os
import socket
from pathlib import Path

from orthanc_al.ledger import Ledger
from orthanc_al.ledger.waiting import release_dead
from orthanc_al.observe import logger

_log = logger("service")


def name(role: str, number: int = 0) -> str:
    """Return the name of one of this process's workers."""
    return f"{_prefix(role)}{os.getpid()}.{_started(os.getpid())}-{number}"


def take_over(ledger: Ledger, role: str) -> None:
    """Take the jobs of this machine's dead workers at once instead of at the end of their leases."""
    prefix = _prefix(role)

    def lives(owner: str) -> bool:
        pid, _, started = owner.removeprefix(prefix).split("-")[0].partition(".")
        return pid.isdecimal() and _started(int(pid)) == started

    with ledger.write() as connection:
        taken = release_dead(connection, prefix, lives)
    if taken:
        _log.warning("jobs_taken_over", role=role, jobs=taken)


def _started(pid: int) -> str:
    """Return when a process was started, in the kernel's ticks since it booted; none where there is none.

    Process ids come again: in a container that is started anew the same processes have the same ones.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]  # field 22 of proc(5), behind the name in brackets


def _prefix(role: str) -> str:
    return f"{socket.gethostname()[:24]}/{role}-"
