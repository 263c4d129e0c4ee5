"""A process that is told to stop stops, whatever its main thread does in that moment."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, threading, time
from orthanc_al.service.stopping import stopped_by_signals

with stopped_by_signals() as stop:
    {when}
    assert stop.wait({timeout})
    assert stop.is_set()
print("stopped")
"""
# The main thread waits already, and the system hands the signal to another: nothing wakes the main thread.
TO_ANOTHER = """
    def other():
        time.sleep(0.3)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        time.sleep(30)
    threading.Thread(target=other, daemon=True).start()
"""
# It is at the event's own lock.
AT_THE_LOCK = """
    with stop._cond:
        signal.raise_signal(signal.SIGTERM)
"""


def _run(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False
    )


@pytest.mark.parametrize("when", [TO_ANOTHER, AT_THE_LOCK], ids=["another", "lock"])
@pytest.mark.parametrize("timeout", ["", "25"])
def test_a_signal_is_heard_wherever_it_finds_the_main_thread(when: str, timeout: str) -> None:
    program = PROGRAM.format(when=when.strip(), timeout=timeout)
    told = _run(program)
    assert told.stdout == "stopped\n", told.stderr


def test_a_wait_ends_when_its_time_is_over() -> None:
    program = PROGRAM.format(
        when="assert not stop.wait(0); assert not stop.wait(1.2); stop.set()", timeout=""
    )
    told = _run(program)
    assert told.stdout == "stopped\n", told.stderr


def test_the_second_signal_ends_a_process_that_does_not_stop() -> None:
    program = PROGRAM.format(
        when="os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGTERM)", timeout=""
    )
    told = _run(program)
    assert told.returncode == -15
