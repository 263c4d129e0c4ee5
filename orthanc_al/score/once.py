"""Scores of images, made once where several threads want the same ones.

A film of which a study is complete at once is wanted by two steps at the same time: ``score_image`` makes its
scores, and ``score`` finds none of them in the ledger yet. Each would decode it.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from orthanc_al.ledger.predictions import ScoredImage

_KEPT: Final = 1024
"""Frames whose scores are kept after they were made, since the ledger may get them a batch of images later;
some kilobytes each."""

Key = tuple[str, str]
"""Instance id, and digest of the package."""


class Once:
    """Makes the scores of an image, or has who wants them too wait for the one that makes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._making: dict[Key, Future[list[ScoredImage]]] = {}
        self._made: dict[Key, list[ScoredImage]] = {}  # the latest last
        self._frames = 0

    def scores(self, key: Key, make: Callable[[], list[ScoredImage]]) -> list[ScoredImage]:
        """Return the scores that ``make`` gives, by this thread or another.

        Raises
        ------
        Exception
            What ``make`` raises, in each of those that wait; who comes later tries anew.
        """
        with self._lock:
            if key in self._made:
                return self._made[key]
            others = self._making.get(key)
            ours: Future[list[ScoredImage]] = Future()
            if others is None:
                self._making[key] = ours
        if others is not None:
            return others.result()
        try:
            scored = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            ours.set_exception(error)
            raise
        with self._lock:
            del self._making[key]
            self._keep(key, scored)
        ours.set_result(scored)
        return scored

    def _keep(self, key: Key, scored: list[ScoredImage]) -> None:
        """Keep scores, and let go of the oldest of too many."""
        self._made[key] = scored
        self._frames += len(scored)
        while self._frames > _KEPT:
            self._frames -= len(self._made.pop(next(iter(self._made))))
