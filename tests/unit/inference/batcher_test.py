"""The micro-batcher: everybody gets their own, together where they come together."""

import threading

import numpy as np
import pytest

from orthanc_al.errors import InferenceError, ModelError, NoMemoryError
from orthanc_al.inference.batcher import Batcher
from orthanc_al.inference.scorer import Outputs


class Echo:
    """Gives back what it gets; stands still where it is told to, and has room for ``room`` images."""

    provider = "echo"

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.runs: list[int] = []
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def run(self, batch: np.ndarray) -> Outputs:
        self.entered.set()
        assert self.go_on.wait(30)
        if len(batch) > self.room:
            raise NoMemoryError("no memory")
        if np.isnan(batch).any():
            raise ModelError("not finite")
        self.runs.append(len(batch))
        flat = batch.reshape(len(batch), -1)
        return Outputs(flat[:, :1], flat, batch)


def image(value: float, n: int = 1, size: int = 2) -> np.ndarray:
    return np.full((n, 1, size, size), value, np.float32)


def asked_together(batcher: Batcher, echo: Echo, batches: list[np.ndarray]) -> list[object]:
    """Have all but the first wait while the first runs; returns what each got, errors included."""
    got: list[object] = [None] * len(batches)

    def ask(number: int) -> None:
        try:
            got[number] = batcher.run(batches[number])
        except InferenceError as error:
            got[number] = error
        except ModelError as error:
            got[number] = error

    echo.go_on.clear()
    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(batches))]
    threads[0].start()
    assert echo.entered.wait(30)
    for number, thread in enumerate(threads[1:], 1):
        thread.start()
        while len(batcher._waiting) < number:
            threading.Event().wait(0.001)
    echo.go_on.set()
    for thread in threads:
        thread.join(30)
    return got


def test_who_comes_while_a_run_is_under_way_shares_the_next_one() -> None:
    echo = Echo()
    got = asked_together(Batcher(echo, 8), echo, [image(n) for n in range(5)])
    assert [float(one.logits[0, 0]) for one in got] == [0, 1, 2, 3, 4]
    assert echo.runs == [1, 4]


def test_a_run_has_no_more_images_than_it_may_but_a_request_is_not_cut() -> None:
    echo = Echo()
    got = asked_together(Batcher(echo, 3), echo, [image(n, n or 1) for n in (0, 2, 2, 5)])
    assert [len(one.logits) for one in got] == [1, 2, 2, 5]
    assert sorted(echo.runs) == [1, 2, 2, 5]


def test_inputs_of_another_size_are_run_apart() -> None:
    echo = Echo()
    got = asked_together(Batcher(echo, 8), echo, [image(0), image(1), image(2, size=4), image(3)])
    assert [one.feature_map.shape[-1] for one in got] == [2, 2, 4, 2]


def test_what_is_at_fault_meets_its_own_error_and_the_others_their_results() -> None:
    echo = Echo()
    got = asked_together(Batcher(echo, 8), echo, [image(0), image(1), image(np.nan), image(3)])
    assert [type(one) for one in got] == [Outputs, Outputs, ModelError, Outputs]


def test_a_batch_that_does_not_fit_into_memory_is_halved_until_it_does() -> None:
    """Simulated: there is no GPU here that could run full."""
    echo = Echo(room=3)
    outputs = Batcher(echo, 8).run(np.concatenate([image(n) for n in range(8)]))
    assert outputs.logits[:, 0].tolist() == list(range(8))
    assert max(echo.runs) <= 3
    with pytest.raises(NoMemoryError):
        Batcher(Echo(room=0), 8).run(image(1))
    assert NoMemoryError.retryable


def test_it_runs_on_what_its_scorer_runs_on() -> None:
    assert Batcher(Echo(), 1).provider == "echo"
