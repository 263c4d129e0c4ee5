"""Order by risk: whatever thresholds and targets are, more risk is never read later within a domain."""

import hypothesis.strategies as st
from hypothesis import given

from orthanc_al.domain import Tier
from orthanc_al.methods.urgency import Targets, read_by, target_minutes
from orthanc_al.triage.tier import tier_of

_SHARE = st.floats(0, 1)
_TARGETS = st.lists(st.floats(0.5, 5000), min_size=4, max_size=4).map(lambda values: Targets(*sorted(values)))
_BORDERS = st.tuples(st.none() | _SHARE, st.none() | _SHARE).map(
    lambda pair: tuple(sorted(pair)) if None not in pair else pair
)


def _minutes(probability, borders, targets):
    tier, _ = tier_of("x", probability, 0.0, *borders)
    return tier, target_minutes(tier, probability, *borders, targets)


@given(_SHARE, _SHARE, _BORDERS, _TARGETS)
def test_more_risk_is_never_read_later(one, other, borders, targets):
    less, more = sorted((one, other))
    assert _minutes(more, borders, targets)[1] <= _minutes(less, borders, targets)[1] + 1e-9


@given(_SHARE, _BORDERS, _TARGETS)
def test_each_tier_keeps_its_target_and_low_never_comes_before_no_score(probability, borders, targets):
    tier, minutes = _minutes(probability, borders, targets)
    assert minutes <= getattr(targets, tier.value) * (1 + 1e-12)
    if tier is Tier.LOW:
        assert minutes >= targets.none * (1 - 1e-12)


@given(st.floats(0, 4e9), st.floats(0, 4e9), st.floats(1, 5000), _TARGETS)
def test_of_two_with_one_target_the_first_to_arrive_is_read_first(one, other, minutes, targets):
    first, second = sorted((one, other))
    assert read_by(first, minutes, "", targets) <= read_by(second, minutes, "", targets)


@given(st.floats(0, 4e9), st.floats(1, 5000), st.sampled_from(["", "HIGH", "STAT"]), _TARGETS)
def test_an_order_s_priority_only_ever_brings_forward(arrived, minutes, priority, targets):
    assert read_by(arrived, minutes, priority, targets) <= read_by(arrived, minutes, "", targets)
