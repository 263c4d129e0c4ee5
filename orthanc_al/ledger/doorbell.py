"""A bell between processes: who has written deliveries rings it, and the forwarder need not poll for them.

A named pipe beside an SQLite ledger; a byte in it means "look". It is a hint that makes things quick and
never the only way to learn of something: where there is no pipe (PostgreSQL, several machines), the one
who waits looks again after a while.
"""

import os
import select
import stat
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_POLL_SECONDS: Final = 0.05  # without a pipe
_DRAIN: Final = 4096


class Doorbell:
    """Waits for the bell, a context manager; one process at a time hears it.

    Parameters
    ----------
    path
        The pipe, made where it is missing; None where there is none.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = -1 if path is None else _open(path)

    def wait(self, seconds: float) -> None:
        """Return when the bell has been rung since the last time, or after ``seconds``."""
        if self._file < 0:
            time.sleep(min(seconds, _POLL_SECONDS))
            return
        if select.select([self._file], [], [], seconds)[0]:
            os.read(self._file, _DRAIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def ring(path: Path | None) -> None:
    """Ring; where nobody listens, nothing happens."""
    if path is None:
        return
    try:
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return  # nobody has it open, or there is none
    try:
        os.write(pipe, b"!")
    except OSError:
        return  # it is full of rings already
    finally:
        os.close(pipe)


def _open(path: Path) -> int:
    """Return the pipe, open for both ways so that it never ends; -1 where the place can't have one."""
    try:
        if not path.exists():
            os.mkfifo(path, 0o600)
        if not stat.S_ISFIFO(path.stat().st_mode):
            return -1
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return -1
