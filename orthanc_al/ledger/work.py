"""The worker's loop: claim, run, commit. The one place where an unexpected error is caught."""

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from sqlalchemy.exc import SQLAlchemyError

from orthanc_al.errors import LeaseLostError, OrthancAlError
from orthanc_al.ledger.engine import Ledger
from orthanc_al.ledger.queue import Job, Outcome, WorkQueue
from orthanc_al.observe import logger
from orthanc_al.pipeline import Step

_IDLE_SECONDS: Final = 0.25
_PAUSE_SECONDS: Final = 1.0
_log = logger("work")


class Stage(Protocol):
    """A step's work: computes outside of any transaction and says what is to be written."""

    def run(self, job: Job) -> Outcome:
        """Do the job; may run twice for one effect."""


class Worker:
    """Does the jobs of the steps it has stages for, one after the other, until told to stop.

    Parameters
    ----------
    ledger, queue
        Where the work is.
    stages
        What does a step's work.
    held_back
        Says which steps may not run now (`orthanc-al pause`).
    """

    def __init__(
        self,
        ledger: Ledger,
        queue: WorkQueue,
        stages: Mapping[Step, Stage],
        held_back: Callable[[], Collection[Step]] = frozenset,
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._stages = stages
        self._held_back = held_back
        self._in_hand: Job | None = None
        self._next: Job | None = None  # taken when the last one ended

    def run_once(self, *, and_on: bool = False) -> bool:
        """Do one job that is due; return whether there was one.

        Where the ledger could not be told what came of the last one, that job is given back first, so that
        nobody waits for the end of its lease.

        Parameters
        ----------
        and_on
            Take the job that is done next in the transaction that ends this one.
        """
        if self._in_hand is not None:
            self._failed(self._in_hand, "the ledger could not be written", retryable=True, passes=True)
        self._in_hand, self._next = self._next or self._queue.claim(self._open()), None
        if self._in_hand is None:
            return False
        self._next = self._do(self._in_hand, self._open() if and_on else frozenset())
        self._in_hand = None
        return True

    def _open(self) -> Collection[Step]:
        return set(self._stages) - set(self._held_back())

    def _do(self, job: Job, then: Collection[Step]) -> Job | None:
        """Do a job; return the next one, of ``then``, where one was taken."""
        try:
            return self._queue.finish(job, self._stages[job.step].run(job), then)
        except LeaseLostError as error:
            _log.warning("lease_lost", step=job.step, subject=job.subject, error=str(error))
        except OrthancAlError as error:
            self._failed(job, str(error), retryable=error.retryable, passes=error.passes)
        except Exception as error:  # noqa: BLE001 - a named border: one bad study must not stop the worker
            _log.error("step_crashed", step=job.step, subject=job.subject, exc_info=True)
            self._failed(job, f"{type(error).__name__}: {error}", retryable=True)
        return None

    def run(self, stop: threading.Event) -> None:
        """Do jobs until ``stop`` is set; the jobs in hand are finished first."""
        while self._next is not None or not stop.is_set():
            try:
                if not self.run_once(and_on=not stop.is_set()):
                    self._ledger.wait_for_change(_IDLE_SECONDS)
            except SQLAlchemyError as error:  # locked for long, or its disk is full: it may pass
                _log.error("ledger_not_reached", error=str(error))
                stop.wait(_PAUSE_SECONDS)
            except Exception:  # noqa: BLE001 - the same border: what the queue itself can't take
                _log.error("worker_crashed", exc_info=True)
                stop.wait(_PAUSE_SECONDS)

    def _failed(self, job: Job, error: str, *, retryable: bool, passes: bool = False) -> None:
        quarantined = self._queue.fail(job, error, retryable=retryable, passes=passes)
        _log.warning(
            "step_quarantined" if quarantined else "step_failed",
            step=job.step,
            subject=job.subject,
            attempt=job.attempts,
            error=error,
        )
