"""Read-by times."""

import pytest

from orthanc_al.domain import Tier
from orthanc_al.methods.urgency import Targets, read_by, target_minutes, unscored_read_by

TARGETS = Targets(high=15, review=60, none=240, low=480)


@pytest.mark.parametrize(
    ("tier", "probability", "low", "high", "minutes"),
    [
        (Tier.HIGH, 0.9, None, 0.7, 15),
        (Tier.NONE, 0.9, None, None, 240),
        (Tier.REVIEW, 0.0, None, 0.8, 60),
        (Tier.REVIEW, 0.4, None, 0.8, 37.5),
        (Tier.REVIEW, 0.8, None, 0.8, 15),
        (Tier.REVIEW, 0.2, 0.2, 0.8, 60),
        (Tier.REVIEW, 0.5, None, None, 37.5),
        (Tier.REVIEW, 0.5, 0.5, 0.5, 15),
        (Tier.LOW, 0.0, 0.1, 0.8, 480),
        (Tier.LOW, 0.05, 0.1, None, 360),
    ],
)
def test_the_target_falls_with_risk_within_a_tier(tier, probability, low, high, minutes):
    assert target_minutes(tier, probability, low, high, TARGETS) == pytest.approx(minutes)


@pytest.mark.parametrize(("priority", "minutes"), [("", 240), ("STAT", 15), ("HIGH", 60), ("ROUTINE", 240)])
def test_a_study_without_a_score_keeps_the_earlier_of_its_target_and_its_order(priority, minutes):
    assert unscored_read_by(6000.0, priority, TARGETS) == 100 + minutes


def test_an_order_never_puts_a_study_off():
    assert read_by(6000.0, 5.0, "HIGH", TARGETS) == 105


def test_the_time_is_never_later_than_the_target():
    assert read_by(6059.0, 15.0, "", TARGETS) == 115


@pytest.mark.parametrize("values", [(0, 1, 2, 3), (15, 10, 20, 30), (1, 2, 4, 3), (1, 5, 4, 6)])
def test_targets_out_of_order_are_refused(values):
    with pytest.raises(ValueError, match="must not fall"):
        Targets(*values)
