"""Keeps what was made last, for those who ask again."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

_AT_ONCE: Final = 2  # a film takes some 100 MB and most of a second to decode


class Kept:
    """The pictures that were made last; each is some 10 kB, and an instance's file never changes.

    Parameters
    ----------
    most
        How many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._making = threading.Semaphore(_AT_ONCE)

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return a picture, made now where it is not there; two at a time, whoever asks."""
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        with self._making:
            png = make()
        with self._lock:
            self._made[key] = png
            while len(self._made) > self._most:
                self._made.popitem(last=False)
        return png
