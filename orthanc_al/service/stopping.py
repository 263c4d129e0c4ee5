"""How a process is told to stop."""

import _thread
import signal
import threading
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_STEP_SECONDS: Final = 0.5


class _Stop(threading.Event):
    """An event that a signal may set while the main thread waits for it, or is about to.

    Python runs a signal's handler in the main thread, between two of its steps: a signal that comes when that
    thread has just decided to wait, or in another thread, waits with it. So no wait is longer than a moment.
    """

    def wait(self, timeout: float | None = None) -> bool:
        """Wait as an event does."""
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while not super().wait(max(0.0, min(_STEP_SECONDS, end - time.monotonic()))):
            if time.monotonic() >= end:
                return False
        return True


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that the first SIGINT or SIGTERM sets; the next one has its default effect."""
    stop = _Stop()

    def ask(number: int, _: types.FrameType | None) -> None:
        # Not here: the main thread may hold the event's own lock in this moment, and would wait for itself.
        _thread.start_new_thread(stop.set, ())
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
