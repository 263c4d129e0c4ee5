"""Waiting times grow, are bounded, and do not march in step."""

from hypothesis import given
from hypothesis import strategies as st

from orthanc_al.forward.backoff import BASE_SECONDS, CAP_SECONDS, delay

_draws = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 100_000), _draws)
def test_a_wait_is_never_nothing_and_never_beyond_the_cap(failures: int, draw: float) -> None:
    assert BASE_SECONDS / 2 <= delay(failures, draw) <= CAP_SECONDS


@given(st.integers(1, 1000), _draws)
def test_a_further_failure_never_waits_shorter_for_the_same_draw(failures: int, draw: float) -> None:
    assert delay(failures + 1, draw) >= delay(failures, draw)


@given(st.integers(1, 1000))
def test_waits_of_the_same_failures_are_spread_over_half_of_their_length(failures: int) -> None:
    shortest, longest = delay(failures, 0.0), delay(failures, 0.999999)
    assert longest > 1.9 * shortest
