"""What a reduced decode does to the score is bounded (the long form: tests/bench/decode_shift.py)."""

from pathlib import Path

import numpy as np
import pytest

from tests.bench.decode_shift import ENCODERS, Shift, films

BOUND = 0.01


@pytest.mark.needs_data
def test_a_reduced_decode_moves_no_probability_by_more_than_the_bound(data: Path):
    shift = Shift()
    moved = [max(shift.of(film, syntax).values()) for film in films(data, 8) for syntax in ENCODERS]
    assert max(moved) <= BOUND
    assert np.count_nonzero(moved) >= len(moved) / 2  # it is reduced, and not full decode under another name
