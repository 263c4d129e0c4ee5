"""Whether a destination is left alone just now, and why."""

import random
import threading
import time
from dataclasses import dataclass

from orthanc_al.dicom.faults import wants_hands
from orthanc_al.forward.backoff import delay
from orthanc_al.observe import logger, now

_PATIENT = 6  # failures that a fault which does not pass by itself counts as: 32 s at first

_log = logger("forward")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a destination is left alone.

    Attributes
    ----------
    fault
        Of `orthanc_al.dicom.faults.Fault`.
    reason
        In words.
    since
        When it began, seconds since 1970.
    failures
        In a row.
    """

    fault: str
    reason: str
    since: float
    failures: int


class Breaker:
    """Opens when a destination fails, and lets one try through when the wait is over; thread-safe.

    Parameters
    ----------
    destination
        Its name, for the log.
    """

    def __init__(self, destination: str) -> None:
        self._destination = destination
        self._lock = threading.Lock()
        self._trouble: Trouble | None = None
        self._closed_until = 0.0

    @property
    def trouble(self) -> Trouble | None:
        """Why the destination is left alone just now, None where all is well."""
        return self._trouble

    def wait(self) -> float:
        """Return the seconds until it may be tried, 0 where it may be now."""
        return max(0.0, self._closed_until - time.monotonic())

    def failed(self, fault: str, reason: str) -> None:
        """Note a failure: nothing is tried until a growing wait is over."""
        with self._lock:
            before = self._trouble
            failures = (before.failures if before else 0) + 1
            self._trouble = Trouble(fault, reason, before.since if before else now(), failures)
            counted = max(failures, _PATIENT) if wants_hands(fault) else failures
            self._closed_until = time.monotonic() + delay(counted, random.random())  # noqa: S311 - jitter
        if before is None:
            _log.warning("destination_in_trouble", destination=self._destination, fault=fault, error=reason)

    def succeeded(self) -> None:
        """Note that it answers."""
        if self._trouble is None:
            return
        with self._lock:
            before, self._trouble, self._closed_until = self._trouble, None, 0.0
        if before is not None:
            _log.info("destination_back", destination=self._destination, failures=before.failures)
