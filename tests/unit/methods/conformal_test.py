"""The thresholds behind the guarantee, against the binomial distribution itself."""

import numpy as np
import pytest
from scipy.stats import binom

from orthanc_al.methods.conformal import errors_allowed, high_threshold, low_threshold, positives_needed


def test_forty_five_positives_are_needed_for_five_percent_at_ninety() -> None:
    assert positives_needed(0.05, 0.10) == 45
    assert errors_allowed(44, 0.05, 0.10) is None
    assert errors_allowed(45, 0.05, 0.10) == 0


@pytest.mark.parametrize(("alpha", "delta"), [(0.05, 0.1), (0.01, 0.05), (0.2, 0.3), (0.9, 0.99)])
def test_what_is_needed_is_the_least_that_suffices(alpha: float, delta: float) -> None:
    needed = positives_needed(alpha, delta)
    assert errors_allowed(needed, alpha, delta) == 0
    assert errors_allowed(needed - 1, alpha, delta) is None


@pytest.mark.parametrize("labels", [45, 77, 100, 250, 1000])
def test_the_errors_allowed_are_the_most_that_the_binomial_allows(labels: int) -> None:
    """k errors bound the rate iff so few would be rare (at most delta) were the rate alpha."""
    k = errors_allowed(labels, 0.05, 0.10)
    assert k is not None
    assert binom.cdf(k, labels, 0.05) <= 0.10 + 1e-12
    assert binom.cdf(k + 1, labels, 0.05) > 0.10


def test_too_few_labels_give_no_threshold() -> None:
    assert low_threshold(np.linspace(0, 1, 44), 0.05, 0.10) is None
    assert low_threshold([], 0.05, 0.10) is None
    assert high_threshold(np.zeros(3), 0.05, 0.10) is None


def test_the_threshold_is_the_score_after_the_errors_allowed() -> None:
    threshold = low_threshold(np.arange(100)[::-1], 0.05, 0.10)
    assert threshold is not None
    assert (threshold.value, threshold.labels, threshold.errors_allowed) == (1.0, 100, 1)


def test_ties_are_on_the_safe_side() -> None:
    scores = np.repeat([0.2, 0.5], [60, 40])
    threshold = low_threshold(scores, 0.05, 0.10)
    assert threshold is not None
    assert (scores < threshold.value).sum() <= threshold.errors_allowed


def test_positives_that_can_t_be_ranked_low_are_never_missed() -> None:
    scores = np.concatenate([np.linspace(0, 1, 50), np.full(50, np.inf)])
    threshold = low_threshold(scores, 0.05, 0.10)
    assert threshold is not None
    assert threshold.labels == 100
    assert low_threshold(np.full(100, np.inf), 0.05, 0.10) is None


def test_the_high_threshold_is_the_mirror_image() -> None:
    scores = np.random.default_rng(0).normal(size=200)
    high, low = high_threshold(scores, 0.1, 0.1), low_threshold(-scores, 0.1, 0.1)
    assert high is not None
    assert low is not None
    assert high.value == -low.value
    assert (scores > high.value).sum() == high.errors_allowed


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError):
        low_threshold([0.1, np.nan], 0.05, 0.10)


@pytest.mark.parametrize(("alpha", "delta"), [(0.0, 0.1), (1.0, 0.1), (0.1, 0.0), (0.1, 1.0)])
def test_rates_at_the_ends_are_refused(alpha: float, delta: float) -> None:
    with pytest.raises(ValueError):
        errors_allowed(10, alpha, delta)
