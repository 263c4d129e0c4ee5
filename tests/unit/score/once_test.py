"""An image that two want at the same time is scored once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from orthanc_al.errors import UndecodableError
from orthanc_al.score.once import Once

KEY = ("image", "digest")


def _scores(count: int = 1) -> Any:
    return [object() for _ in range(count)]


class _Slow:
    """Scores that take until they are let go."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.times = 0
        self._error = error

    def make(self) -> Any:
        self.times += 1
        self.begun.set()
        assert self.go.wait(20)
        if self._error is not None:
            raise self._error
        return _scores()


def _both(once: Once, slow: _Slow) -> list[Any]:
    """Have a second thread want what a first one is making; return what each got."""
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(once.scores, KEY, slow.make)
        assert slow.begun.wait(20)
        second = pool.submit(once.scores, KEY, slow.make)
        with pytest.raises(TimeoutError):
            second.result(0.05)  # it waits, and makes nothing
        slow.go.set()
        return [future.exception() or future.result() for future in (first, second)]


def test_who_comes_while_the_scores_are_made_waits_for_them():
    slow = _Slow()
    first, second = _both(Once(), slow)
    assert first is second
    assert slow.times == 1


def test_who_comes_before_they_are_in_the_ledger_gets_the_same():
    once = Once()
    made = once.scores(KEY, _scores)
    assert once.scores(KEY, _scores) is made
    assert once.scores(("image", "another package"), _scores) is not made


def test_a_fault_reaches_all_that_wait_and_is_not_kept():
    once, slow = Once(), _Slow(UndecodableError("no grey pixels"))
    first, second = _both(once, slow)
    assert isinstance(first, UndecodableError)
    assert first is second
    assert len(once.scores(KEY, _scores)) == 1


def test_the_oldest_are_let_go():
    once = Once()
    first = once.scores(KEY, _scores)
    once.scores(("volume", "digest"), lambda: _scores(1023))
    assert once.scores(KEY, _scores) is first  # 1024 frames are kept
    last = once.scores(("film", "digest"), _scores)
    assert once.scores(("film", "digest"), _scores) is last
    assert once.scores(KEY, _scores) is not first


def test_what_is_larger_than_all_that_is_kept_is_given_all_the_same():
    assert len(Once().scores(KEY, lambda: _scores(2000))) == 2000
