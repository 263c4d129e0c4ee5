"""The supervisor restarts what dies and leaves nothing behind."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

from orthanc_al.service.supervisor import Supervisor

SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]


def _started(
    command: Callable[[str], Sequence[str]], roles: Sequence[str]
) -> tuple[Supervisor, threading.Event, threading.Thread, list[tuple[str, int]]]:
    restarts: list[tuple[str, int]] = []
    supervisor = Supervisor(command, roles, lambda role, times: restarts.append((role, times)))
    stop = threading.Event()
    thread = threading.Thread(target=supervisor.run, args=(stop,))
    thread.start()
    _until(lambda: len(supervisor.pids()) == len(roles))
    return supervisor, stop, thread, restarts


def _until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_process_is_started_again_and_told_of() -> None:
    supervisor, stop, thread, restarts = _started(lambda _: SLEEPS, ["a", "b"])
    before = supervisor.pids()
    os.kill(before["a"], signal.SIGKILL)
    _until(lambda: restarts == [("a", 1)])
    assert supervisor.pids()["a"] != before["a"]
    assert supervisor.pids()["b"] == before["b"]
    stop.set()
    thread.join()


def test_all_processes_end_with_it() -> None:
    supervisor, stop, thread, _ = _started(lambda _: SLEEPS, ["a", "b"])
    pids = supervisor.pids()
    stop.set()
    thread.join()
    assert not any(_alive(pid) for pid in pids.values())


def test_a_process_that_keeps_dying_is_started_less_and_less_often() -> None:
    times: list[float] = []

    def command(_: str) -> Sequence[str]:
        times.append(time.monotonic())
        return [sys.executable, "-c", "raise SystemExit(1)"]

    _, stop, thread, _ = _started(command, ["a"])
    _until(lambda: len(times) >= 4)
    stop.set()
    thread.join()
    gaps = [b - a for a, b in pairwise(times)]
    assert gaps[2] > gaps[0]
