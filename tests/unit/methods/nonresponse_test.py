"""The worst case is the worst of all that the unread audits may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_al.methods.nonresponse import worst_miss_rate

SMALL = st.integers(0, 6)


@given(missed=SMALL, flagged=SMALL, low=SMALL, other=SMALL)
def test_no_truth_of_the_unread_ones_is_worse_wherever_they_rank(
    missed: int, flagged: int, low: int, other: int
) -> None:
    rates = [
        (missed + hidden_low) / (missed + flagged + hidden_low + hidden_other)
        for hidden_low in range(low + 1)
        for hidden_other in range(other + 1)
        if missed + flagged + hidden_low + hidden_other
    ]
    worst = worst_miss_rate(missed=missed, positives=missed + flagged, unread=low + other)
    assert worst >= max(rates, default=0.0)
    if not other:
        assert worst == max(rates, default=0.0)


def test_counts_that_can_t_be_are_refused() -> None:
    with pytest.raises(ValueError, match="3 missed of 2"):
        worst_miss_rate(missed=3, positives=2, unread=0)
