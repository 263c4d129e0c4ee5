"""Tiers and their reasons."""

import math

import pytest

from orthanc_al.domain import Tier
from orthanc_al.triage.tier import tier_of


@pytest.mark.parametrize(
    ("probability", "ood", "low", "high", "tier", "why"),
    [
        (0.93, 0.5, None, 0.71, Tier.HIGH, "pneumonia 0.93, above the high threshold 0.71"),
        (0.71, 0.5, None, 0.71, Tier.REVIEW, "pneumonia 0.71, not above the high threshold 0.71"),
        (0.03, 0.5, 0.05, 0.71, Tier.LOW, "pneumonia 0.03, below the low threshold 0.05"),
        (0.05, 0.5, 0.05, 0.71, Tier.REVIEW, "pneumonia 0.05, between the thresholds 0.05 and 0.71"),
        (0.40, 1.0, 0.05, None, Tier.REVIEW, "pneumonia 0.40; too few audit labels for a high threshold"),
        (0.01, 0.5, None, None, Tier.REVIEW, "pneumonia 0.01; too few audit labels for thresholds"),
        (0.99, 1.5, 0.05, 0.71, Tier.REVIEW, "outside of the model's domain (1.5 times the limit)"),
        (0.01, 1.5, 0.05, 0.71, Tier.REVIEW, "outside of the model's domain (1.5 times the limit)"),
    ],
)
def test_each_place_has_its_reason(probability, ood, low, high, tier, why):
    found, reason = tier_of("pneumonia", probability, ood, low, high)
    assert found is tier
    assert reason.startswith(why)


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("ood", [math.inf, math.nan, 1.0001])
def test_what_lies_outside_of_the_domain_is_reviewed_always(probability, ood):
    assert tier_of("pneumonia", probability, ood, 0.2, 0.8)[0] is Tier.REVIEW


@pytest.mark.parametrize("probability", [0.0, 1e-9, 0.3])
def test_without_a_low_threshold_nothing_is_low(probability):
    assert tier_of("pneumonia", probability, 0.0, None, 0.9)[0] is not Tier.LOW
