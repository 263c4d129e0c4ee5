"""The event simulator: a few readers, and a queue in which the smallest key is read first.

Every rule that we know is a key that is written when a study arrives: order of arrival is a constant,
priority is the class, our read-by rule is arrival + target (earliest due date: Jackson 1960; Goldberg 1977).
Equal keys are read in order of arrival. So one loop simulates them all, and two rules can be compared on the
same studies and the same reading times.
"""

import heapq

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


def delays(
    arrivals: ArrayLike, reading: ArrayLike, keys: ArrayLike, readers: int, *, preemptive: bool = False
) -> Vector:
    """Return each study's delay: from arrival to its signed read, less its reading time.

    Parameters
    ----------
    arrivals
        Times in order, shape (n,).
    reading
        Reading times in the same unit, not negative, shape (n,).
    keys
        What the queue is sorted by, shape (n,).
    readers
        At least 1.
    preemptive
        Whether a read is put back for a study with a smaller key, and taken up again where it was left.

    Raises
    ------
    ValueError
        Shapes differ, arrivals are not in order, or there is no reader.
    """
    a, s, k = (np.asarray(one, np.float64) for one in (arrivals, reading, keys))
    if not a.shape == s.shape == k.shape or a.ndim != 1 or readers < 1:
        raise ValueError("arrivals, reading times and keys are as many, and there is a reader")
    if (np.diff(a) < 0.0).any() or (s < 0.0).any():
        raise ValueError("arrivals are in order of time, and no reading time is negative")
    finish = _preemptive if preemptive else _in_turn
    return np.maximum(np.array(finish(a.tolist(), s.tolist(), k.tolist(), readers)) - a - s, 0.0)


def _in_turn(a: list[float], s: list[float], keys: list[float], readers: int) -> list[float]:
    """Return when each study is signed where a read once begun is ended."""
    done = [0.0] * len(a)
    free = [float("-inf")] * readers  # when each reader gets free
    waiting: list[tuple[float, int]] = []
    arrived = 0
    while arrived < len(a) or waiting:
        # The next read begins when a reader is free and a study is there; all that came by then compete.
        begin = free[0] if waiting else max(free[0], a[arrived])
        while arrived < len(a) and a[arrived] <= begin:
            heapq.heappush(waiting, (keys[arrived], arrived))
            arrived += 1
        study = heapq.heappop(waiting)[1]
        done[study] = begin + s[study]
        heapq.heapreplace(free, done[study])
    return done


def _preemptive(a: list[float], s: list[float], keys: list[float], readers: int) -> list[float]:
    """Return when each study is signed where a more urgent one takes the reader away."""
    done = [0.0] * len(a)
    left = list(s)
    waiting: list[tuple[float, int]] = []
    reading: dict[int, float] = {}  # study -> when its read ends if nothing interrupts it
    arrived, infinite = 0, float("inf")
    while arrived < len(a) or reading:
        ends, study = min(((end, one) for one, end in reading.items()), default=(infinite, -1))
        if arrived < len(a) and a[arrived] < ends:
            now = a[arrived]
            heapq.heappush(waiting, (keys[arrived], arrived))
            arrived += 1
            if len(reading) == readers:
                least = max(reading, key=lambda one: (keys[one], one))
                if waiting[0] < (keys[least], least):
                    left[least] = reading.pop(least) - now
                    heapq.heappush(waiting, (keys[least], least))
        else:
            now = done[study] = ends
            del reading[study]
        while waiting and len(reading) < readers:
            following = heapq.heappop(waiting)[1]
            reading[following] = now + left[following]
    return done
