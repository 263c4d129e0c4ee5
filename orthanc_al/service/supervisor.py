"""Keeps a few processes alive: one interpreter lock would make inference slow the wire."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from orthanc_al.observe import logger

_PR_SET_PDEATHSIG: Final = 1
_BACKOFF_CAP: Final = 30.0
_STEADY_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 15.0
_log = logger("supervisor")


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGTERM when process ``parent`` dies (prctl(2)), so that no orphan keeps a port."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the call
        sys.exit(0)


@dataclass(slots=True)
class _Child:
    role: str
    process: subprocess.Popen[bytes]
    started: float
    failures: int = 0
    restarts: int = 0
    restart_at: float | None = field(default=None)


class Supervisor:
    """Starts a process for each role, restarts what dies, and ends them all.

    Parameters
    ----------
    command
        Gives the command line of a role.
    roles
        In the order in which they are started; they are ended in the reverse order.
    on_restart
        Told the role and how often it was restarted.
    """

    def __init__(
        self,
        command: Callable[[str], Sequence[str]],
        roles: Sequence[str],
        on_restart: Callable[[str, int], None],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._roles = roles
        self._on_restart = on_restart
        self._environment = dict(os.environ if environment is None else environment)
        self._children: dict[str, _Child] = {}

    def run(self, stop: threading.Event) -> None:
        """Start everything, watch over it until ``stop`` is set, then end everything."""
        try:
            for role in self._roles:
                self._children[role] = _Child(role, self._spawn(role), time.monotonic())
            while not stop.wait(0.2):
                for child in self._children.values():
                    self._look_after(child)
        finally:
            self._end_all()

    def pids(self) -> dict[str, int]:
        """Return the process id of each role."""
        return {role: child.process.pid for role, child in self._children.items()}

    def _spawn(self, role: str) -> subprocess.Popen[bytes]:
        # In a session of its own: Ctrl-C reaches us alone, and we end the children in order.
        return subprocess.Popen(  # noqa: S603 - our own program
            list(self._command(role)), env=self._environment, start_new_session=True
        )

    def _look_after(self, child: _Child) -> None:
        status = child.process.poll()
        if status is None:
            return
        now = time.monotonic()
        if child.restart_at is None:
            child.failures = 0 if now - child.started > _STEADY_SECONDS else child.failures + 1
            wait = min(_BACKOFF_CAP, 0.5 * 2 ** (child.failures - 1)) if child.failures else 0.0
            child.restart_at = now + wait
            _log.error("process_died", role=child.role, status=status, restart_in=round(wait, 1))
        if now >= child.restart_at:
            try:
                process = self._spawn(child.role)
            except OSError as error:  # no memory, or no process to be had, just now
                child.restart_at = now + _BACKOFF_CAP
                _log.error("process_not_started", role=child.role, error=str(error))
                return
            child.restarts += 1
            child.process, child.started, child.restart_at = process, now, None
            self._on_restart(child.role, child.restarts)

    def _end_all(self) -> None:
        for child in reversed(self._children.values()):
            if child.process.poll() is None:
                child.process.terminate()
        until = time.monotonic() + _STOP_SECONDS
        for child in reversed(self._children.values()):
            try:
                child.process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.error("process_killed", role=child.role, reason="it did not end when asked")
                child.process.kill()
                child.process.wait()
