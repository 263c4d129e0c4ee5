"""Who goes first where several processes want to write into SQLite, which knows no order.

Each of them looks for the lock again and again, so that a worker with one transaction after the other takes
it from under a listener that waits. Who goes first says that it waits by a shared lock (flock) on a file
beside the ledger; who gives way looks whether somebody holds one. A hint: it goes with its process, and
nothing but time is lost where the file can't be had or locked, or is let go while a thread waits.
"""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

_LONGEST_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.001


class Precedence:
    """The place of one process's writers among those of the others.

    Parameters
    ----------
    path
        The file, made where it is missing; None where there is no order to keep (PostgreSQL has its own).
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file = -1
        self._goes_first = False
        self._waits = False

    def go_first(self) -> None:
        """Be let go first by those who give way."""
        self._goes_first = self._opened()

    def give_way(self) -> None:
        """Let those go first who do."""
        self._goes_first = False
        self._opened()

    def let_others_go(self, since: float) -> None:
        """Return when nobody waits who goes first, or half a second after ``since`` (`time.monotonic`).

        Once for each transaction: the lock is held whenever somebody waits for it, so that who gave way at
        each of its tries would not get it as long as two of the others write in turn.
        """
        if self._goes_first or self._file < 0:
            return
        while time.monotonic() < since + _LONGEST_SECONDS and self._somebody_waits():
            time.sleep(_POLL_SECONDS)

    def begin_to_wait(self) -> None:
        """Say, where this one goes first, that it waits."""
        if self._goes_first and not self._waits:
            self._waits = bool(self._flock(fcntl.LOCK_SH))

    def end(self) -> None:
        """Say that it waits no more."""
        if self._waits:
            self._flock(fcntl.LOCK_UN)
            self._waits = False

    def close(self) -> None:
        """Let go of the file."""
        handle, self._file = self._file, -1
        self._goes_first = self._waits = False
        if handle >= 0:
            os.close(handle)

    def _somebody_waits(self) -> bool:
        had = self._flock(fcntl.LOCK_EX)
        if had:
            self._flock(fcntl.LOCK_UN)
        return had is False

    def _flock(self, how: int) -> bool | None:
        """Lock without waiting; return whether it was to be had, None where nothing can be locked."""
        try:
            fcntl.flock(self._file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except (OSError, ValueError):  # a file system without such locks; a file that was closed meanwhile
            return None
        return True

    def _opened(self) -> bool:
        if self._file < 0 and self._path is not None:
            try:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError:
                return False
        return self._file >= 0
