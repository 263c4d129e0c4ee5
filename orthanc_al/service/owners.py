"""Names of workers, by which a new process knows the jobs of its dead predecessor."""

import os
import socket
from pathlib import Path

from orthanc_al.ledger import Ledger
from orthanc_al.ledger.queue import release_dead
from orthanc_al.observe import logger

_log = logger("service")


def name(role: str, number: int = 0) -> str:
    """Return the name of one of this process's workers."""
    return f"{_prefix(role)}{os.getpid()}-{number}"


def take_over(ledger: Ledger, role: str) -> None:
    """Take the jobs of this machine's dead workers at once instead of at the end of their leases."""
    prefix = _prefix(role)

    def lives(owner: str) -> bool:
        pid = owner.removeprefix(prefix).split("-")[0]
        return Path(f"/proc/{pid}").exists()

    with ledger.write() as connection:
        taken = release_dead(connection, prefix, lives)
    if taken:
        _log.warning("jobs_taken_over", role=role, jobs=taken)


def _prefix(role: str) -> str:
    return f"{socket.gethostname()}/{role}-"
