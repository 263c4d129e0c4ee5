"""Batches of fixed sizes: everybody gets their own, whatever is filled up beside it."""

import numpy as np
import pytest

from orthanc_al.inference.scorer import Outputs
from orthanc_al.inference.session import CPU, Session
from orthanc_al.inference.sizes import LARGEST, Filled, FixedSizes, sizes_up_to
from tests.support.tiny_package import tiny_model


class Shaped(Session):
    """Tells which batches it ran."""

    def __init__(self) -> None:
        super().__init__(tiny_model(), cpu=True)
        self.runs: list[int] = []

    def run(self, batch: np.ndarray) -> Outputs:
        self.runs.append(len(batch))
        return super().run(batch)


def images(n: int) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, 1, 32, 32)).astype(np.float32)


def fixed(*sizes: int) -> tuple[FixedSizes, dict[int, list[int]]]:
    sessions = {size: Shaped() for size in sizes}
    made = FixedSizes([Filled(session, size) for size, session in sessions.items()], "image")
    return made, {size: session.runs for size, session in sessions.items()}


@pytest.mark.parametrize("n", range(1, 12))
def test_a_batch_of_any_size_gives_what_it_gives_alone(n: int) -> None:
    alone, (together, _) = Session(tiny_model(), cpu=True).run(images(n)), fixed(1, 4, 8)
    got = together.run(images(n))
    for name in ("logits", "embedding", "feature_map"):
        assert getattr(got, name).shape == getattr(alone, name).shape
        assert np.allclose(getattr(got, name), getattr(alone, name), atol=1e-5)


def test_no_session_ever_sees_another_size_than_its_own() -> None:
    together, runs = fixed(1, 4, 8)
    for n in (1, 2, 4, 5, 8, 13):
        together.run(images(n))
    assert runs == {1: [1], 4: [4, 4], 8: [8, 8, 8, 8]}


def test_what_is_filled_up_is_as_good_as_what_is_asked_for() -> None:
    """A network may give no number for an empty image, and a batch would be refused for what is no film."""
    session = Shaped()
    seen: list[np.ndarray] = []
    session.run = lambda batch: seen.append(batch) or Shaped().run(batch)  # type: ignore[method-assign]
    Filled(session, 4).run(images(2))
    assert np.array_equal(seen[0][2:], np.repeat(images(2)[1:], 2, axis=0))


def test_sizes_end_with_what_is_allowed() -> None:
    assert [sizes_up_to(n) for n in (1, 5, 8, 9, LARGEST)] == [(1,), (1, 5), (1, 8), (1, 8, 9), (1, 8, 32)]


def test_it_says_what_it_runs_on() -> None:
    together, _ = fixed(1, 4)
    assert (together.provider, together.largest, together.input_name) == (CPU, 4, "image")
