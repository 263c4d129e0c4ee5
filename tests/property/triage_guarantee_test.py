"""P(share of positives ranked low > alpha) <= delta: the promise behind the low tier, whatever the scores.

With continuous scores the true miss rate of tau_low = s(k + 1) is the (k + 1)-th order statistic of n
uniforms, so that scores may be drawn uniform and the miss rate be read off the threshold itself.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from orthanc_al.methods.conformal import errors_allowed, high_threshold, low_threshold

RESAMPLES = 4000


@given(st.integers(1, 3000), st.floats(0.01, 0.5), st.floats(0.01, 0.5))
@settings(max_examples=200, deadline=None)
def test_the_miss_rate_exceeds_alpha_at_most_with_probability_delta(
    positives: int, alpha: float, delta: float
) -> None:
    """Against the binomial truth: the rate exceeds alpha iff at most k positives fell below its quantile."""
    k = errors_allowed(positives, alpha, delta)
    if k is None:
        assert (1.0 - alpha) ** positives > delta
    else:
        assert binom.cdf(k, positives, alpha) <= delta * (1 + 1e-9)
        assert beta.sf(alpha, k + 1, positives - k) <= delta * (1 + 1e-9)


@given(st.integers(45, 300), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_no_more_audited_positives_are_missed_than_are_allowed(positives: int, seed: int) -> None:
    scores = np.round(np.random.default_rng(seed).uniform(size=positives), 2)  # with ties
    threshold = low_threshold(scores, 0.05, 0.10)
    assert threshold is not None
    assert (scores < threshold.value).sum() <= threshold.errors_allowed


@pytest.mark.parametrize(("alpha", "delta"), [(0.05, 0.10), (0.10, 0.05)])
@pytest.mark.parametrize("ties", [False, True])
def test_monte_carlo_keeps_the_promise_with_a_random_number_of_positives(
    alpha: float, delta: float, ties: bool
) -> None:
    random = np.random.default_rng(7)
    broken = given_ = 0
    for _ in range(RESAMPLES):
        scores = random.uniform(size=random.binomial(900, 0.1))
        scores = np.round(scores, 2) if ties else scores
        threshold = low_threshold(scores, alpha, delta)
        if threshold is None:
            continue
        given_ += 1
        # Rounded scores lie below t with probability t - .005; plain ones with probability t.
        missed = max(0.0, threshold.value - 0.005) if ties else threshold.value
        broken += missed > alpha
    assert given_ > RESAMPLES * 0.9
    assert broken / RESAMPLES <= delta + 2 * np.sqrt(delta * (1 - delta) / RESAMPLES)


def test_the_promise_is_not_kept_by_being_useless() -> None:
    """With 500 positives the low tier misses most of what it may: a median miss rate above half of alpha."""
    random = np.random.default_rng(1)
    missed = [low_threshold(random.uniform(size=500), 0.05, 0.10) for _ in range(300)]
    assert np.median([one.value for one in missed if one is not None]) > 0.025


def test_false_alarms_are_bounded_alike() -> None:
    random = np.random.default_rng(2)
    broken = 0
    for _ in range(1000):
        threshold = high_threshold(random.uniform(size=150), 0.10, 0.10)
        assert threshold is not None
        broken += 1.0 - threshold.value > 0.10
    assert broken / 1000 <= 0.10 + 2 * np.sqrt(0.09 / 1000)


def test_a_change_of_prevalence_does_not_touch_the_promise() -> None:
    """Only positives' scores have a say: with four times as many negatives the threshold is the same."""
    random = np.random.default_rng(3)
    positives = random.uniform(size=120)
    assert low_threshold(positives, 0.05, 0.10) == low_threshold(random.permutation(positives), 0.05, 0.10)


def test_on_whole_patients_the_promise_holds_where_each_counts_once() -> None:
    """Patients come one to four times, alike; the first study of each is what the borders are made from."""
    random = np.random.default_rng(3)
    broken, resamples = 0, 2000
    for _ in range(resamples):
        patients = random.uniform(size=random.binomial(700, 0.1))
        studies = random.integers(1, 5, patients.size)
        every = np.clip(np.repeat(patients, studies) + random.normal(0.0, 0.005, studies.sum()), 0.0, 1.0)
        first = every[np.concatenate([[0], np.cumsum(studies)[:-1]])]
        threshold = low_threshold(first, 0.05, 0.10)
        broken += threshold is not None and threshold.value > 0.05
    assert broken / resamples <= 0.10 + 2 * np.sqrt(0.09 / resamples)


def test_in_each_group_the_promise_holds_where_one_border_for_all_breaks_it() -> None:
    """Scanner B's positives score lower: pooled borders miss more of hers than alpha, her own do not."""
    random = np.random.default_rng(5)
    resamples, pooled_broken, own_broken, too_few = 2000, 0, 0, 0
    for _ in range(resamples):
        a, b = (
            random.uniform(size=random.binomial(1500, 0.1)),
            random.uniform(size=random.binomial(600, 0.1)) ** 3,
        )
        pooled, own = low_threshold(np.concatenate([a, b]), 0.05, 0.10), low_threshold(b, 0.05, 0.10)
        missed = 0.0 if pooled is None else pooled.value ** (1 / 3)
        pooled_broken += missed > 0.05
        too_few += own is None
        own_broken += own is not None and own.value ** (1 / 3) > 0.05
    assert pooled_broken / resamples > 0.9
    assert own_broken / resamples <= 0.10 + 2 * np.sqrt(0.09 / resamples)
    assert too_few < resamples / 10
