"""The worker's loop: claim, run, commit. The one place where an unexpected error is caught."""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

from sqlalchemy.exc import SQLAlchemyError

from orthanc_al.errors import DeviceLostError, LeaseLostError, OrthancAlError
from orthanc_al.ledger.engine import Ledger
from orthanc_al.ledger.queue import Job, Outcome, WorkQueue
from orthanc_al.ledger.trouble import cause_of, passing
from orthanc_al.observe import logger
from orthanc_al.pipeline import Step

_IDLE_SECONDS: Final = 0.25
_PAUSE_SECONDS: Final = 1.0
_log = logger("work")


class Stage(Protocol):
    """A step's work: computes outside of any transaction and says what is to be written."""

    def run(self, job: Job) -> Outcome:
        """Do the job; may run twice for one effect."""


@runtime_checkable
class BatchStage(Stage, Protocol):
    """A step's work that costs less for several jobs together."""

    def run_all(self, jobs: Sequence[Job]) -> Iterable[Outcome]:
        """Do jobs, an outcome for each in their order; what fails for one is raised for all that follow.

        One at least; what is left is put back, where the outcomes so far are not to wait any longer.
        """


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
        self._in_hand: list[Job] = []
        self._next: list[Job] = []  # taken when the last ones ended

    def run_once(self, *, and_on: bool = False) -> bool:
        """Do a job that is due, with those that go with it; return whether there was one.

        Where the ledger could not be told what came of the last ones, they are given back first, so that
        nobody waits for the end of their lease.

        Parameters
        ----------
        and_on
            Take the jobs that are done next in the transaction that ends these.

        Raises
        ------
        DeviceLostError
            The process is to end. The jobs that met it are left as a death leaves them, and count as such:
            they are tried again apart from one another, and what brings the device down each time is given
            up in the end.
        """
        while self._in_hand:
            self._failed(self._in_hand[-1], "the ledger could not be written", retryable=True, passes=True)
            self._in_hand.pop()
        self._in_hand, self._next = self._next or self._queue.claim_many(self._open()), []
        if not self._in_hand:
            return False
        self._do(self._in_hand, self._open if and_on else frozenset)
        return True

    def _open(self) -> Collection[Step]:
        return set(self._stages) - set(self._held_back())

    def _do(self, batch: Sequence[Job], then: Callable[[], Collection[Step]]) -> None:
        """Do jobs, and take the next ones, of what ``then`` says when these are done."""
        done: list[tuple[Job, Outcome]] = []
        failed: list[tuple[Job, Exception]] = []
        for job, result in self._results(batch):
            if isinstance(result, Outcome):
                done.append((job, result))
            else:
                failed.append((job, result))
        told = {job.id for job, _ in [*done, *failed]}
        left = [job for job in batch if job.id not in told]
        lost = next((error for _, error in failed if isinstance(error, DeviceLostError)), None)
        failed = [(job, error) for job, error in failed if not isinstance(error, DeviceLostError)]
        if done or left:
            failed += self._finish(done, then() if lost is None else (), left)
        self._in_hand = [job for job, _ in failed]
        for job, error in failed:
            self._tell(job, error)
            self._in_hand.remove(job)
        if lost is not None:
            raise lost

    def _finish(
        self, done: Sequence[tuple[Job, Outcome]], then: Collection[Step], left: Sequence[Job]
    ) -> list[tuple[Job, Exception]]:
        """Write what jobs came to; return those of which it could not be written."""
        try:
            finished = self._queue.finish_many(done, then, left)
        except Exception as error:  # noqa: BLE001 - the same border: it is none of theirs, and none is written
            return [(job, error) for job in (*(job for job, _ in done), *left)]
        self._next = finished.following
        return finished.refused

    def _results(self, batch: Sequence[Job]) -> Iterator[tuple[Job, Outcome | Exception]]:
        """Yield what comes of each job, none of which hears of the others' errors."""
        stage = self._stages[batch[0].step]
        held_since = time.monotonic()
        if len(batch) > 1 and isinstance(stage, BatchStage):
            done = 0
            try:
                for job, outcome in zip(batch, stage.run_all(batch), strict=False):  # it may leave some
                    yield job, outcome
                    done += 1
            except DeviceLostError as error:  # nor would one of them by itself come further
                yield from ((job, error) for job in batch[done:])
                return
            except Exception:  # noqa: BLE001 - the border below: each is done by itself and meets its own error
                batch = batch[done:]
                _log.info("batch_parted", step=batch[0].step, jobs=len(batch))
            else:
                return
        for job in batch:
            if time.monotonic() - held_since > self._queue.lease_seconds / 2:
                self._queue.extend(batch)
                held_since = time.monotonic()
            yield job, self._result(job)

    def _result(self, job: Job) -> Outcome | Exception:
        try:
            return self._stages[job.step].run(job)
        except Exception as error:  # noqa: BLE001 - a named border: one bad study must not stop the worker
            return error

    def _tell(self, job: Job, error: Exception) -> None:
        """Have the queue know what went wrong with a job."""
        if isinstance(error, LeaseLostError):
            _log.warning("lease_lost", step=job.step, subject=job.subject, error=str(error))
        elif isinstance(error, OrthancAlError):
            self._failed(job, str(error), retryable=error.retryable, passes=error.passes)
        else:
            trouble = passing(error)
            if trouble is not None:  # of the ledger: as often as it takes
                said = cause_of(trouble)
                self._failed(job, f"the ledger can't be used now: {said}", retryable=True, passes=True)
                return
            _log.error("step_crashed", step=job.step, subject=job.subject, exc_info=error)
            self._failed(job, f"{type(error).__name__}: {error}", retryable=True)

    def run(self, stop: threading.Event) -> None:
        """Do jobs until ``stop`` is set; the jobs in hand are finished first.

        Raises
        ------
        DeviceLostError
            As `run_once`.
        """
        over = threading.Event()
        holding = threading.Thread(target=self._keep_hold, args=(over,), name="lease")
        holding.start()
        try:
            while self._next or not stop.is_set():
                self._turn(stop)
        finally:
            over.set()
            holding.join()

    def _turn(self, stop: threading.Event) -> None:
        try:
            if not self.run_once(and_on=not stop.is_set()):
                self._ledger.wait_for_change(_IDLE_SECONDS)
        except DeviceLostError:
            raise
        except SQLAlchemyError as error:  # locked for long, or its disk is full: it may pass
            _log.error("ledger_not_reached", error=str(error))
            stop.wait(_PAUSE_SECONDS)
        except Exception:  # noqa: BLE001 - the same border: what the queue itself can't take
            _log.error("worker_crashed", exc_info=True)
            stop.wait(_PAUSE_SECONDS)

    def _keep_hold(self, over: threading.Event) -> None:
        """Extend the lease of what is in hand for as long as this process lives.

        What takes longer than its lease would be taken by one worker after the other, and written by none.
        """
        while not over.wait(self._queue.lease_seconds / 3):
            held = [*self._in_hand, *self._next]
            try:
                if held:
                    self._queue.extend(held)
            except SQLAlchemyError as error:
                _log.warning("lease_not_extended", error=str(error))

    def _failed(self, job: Job, error: str, *, retryable: bool, passes: bool = False) -> None:
        quarantined = self._queue.fail(job, error, retryable=retryable, passes=passes)
        _log.warning(
            "step_quarantined" if quarantined else "step_failed",
            step=job.step,
            subject=job.subject,
            attempt=job.attempts,
            error=error,
        )
