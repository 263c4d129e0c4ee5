"""What every strategy of selection promises."""

import numpy as np
import pytest

from orthanc_al.methods.acquisition import PowerMargin, Random, Strategy, TopRisk, gumbel, threshold_for

STRATEGIES: tuple[Strategy, ...] = (Random(), PowerMargin(), TopRisk())


@pytest.fixture(params=STRATEGIES, ids=lambda strategy: strategy.name)
def strategy(request: pytest.FixtureRequest) -> Strategy:
    return request.param


@pytest.fixture
def pool() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    return random.beta(0.5, 3.0, 4000), random.uniform(1e-9, 1.0, 4000)


def test_one_finite_score_a_case(strategy: Strategy, pool: tuple[np.ndarray, np.ndarray]) -> None:
    scores = strategy.score(*pool)
    assert scores.shape == (4000,)
    assert np.isfinite(scores).all()


def test_certain_cases_have_finite_scores(strategy: Strategy) -> None:
    assert np.isfinite(strategy.score([0.0, 1.0], [0.5, 0.5])).all()


def test_an_empty_pool_is_no_fault(strategy: Strategy) -> None:
    assert strategy.score([], []).shape == (0,)
    assert strategy.chance([], 0.0).shape == (0,)


def test_the_same_noise_gives_the_same_scores(
    strategy: Strategy, pool: tuple[np.ndarray, np.ndarray]
) -> None:
    assert np.array_equal(strategy.score(*pool), strategy.score(*pool))


def test_a_case_s_score_does_not_depend_on_its_company(
    strategy: Strategy, pool: tuple[np.ndarray, np.ndarray]
) -> None:
    probabilities, noise = pool
    alone = [strategy.score([p], [u])[0] for p, u in zip(probabilities[:20], noise[:20], strict=True)]
    assert np.allclose(alone, strategy.score(probabilities, noise)[:20])


def test_the_chance_is_the_frequency_with_which_the_threshold_is_passed(strategy: Strategy) -> None:
    noise = np.random.default_rng(8).uniform(1e-12, 1.0, 20000)
    for p in (0.02, 0.3, 0.5, 0.9):
        scores = strategy.score(np.full(noise.size, p), noise)
        for threshold in (-4.0, 0.2, 0.7):
            assert strategy.chance([p], threshold)[0] == pytest.approx(np.mean(scores > threshold), abs=0.015)


def test_nothing_is_spared_below_every_threshold(strategy: Strategy) -> None:
    assert strategy.chance([0.1, 0.5], -np.inf).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_a_stream_is_flagged_at_its_share(
    strategy: Strategy, pool: tuple[np.ndarray, np.ndarray], share: float
) -> None:
    scores = strategy.score(*pool)
    flagged = [scores[i] > threshold_for(scores[i - 300 : i], share) for i in range(300, 4000)]
    assert np.mean(flagged) == pytest.approx(share, abs=4 * np.sqrt(share / 3700) + 0.005)


def test_margin_prefers_doubt_and_top_risk_prefers_risk() -> None:
    noise = [0.5, 0.5, 0.5]
    assert np.argmax(PowerMargin().score([0.05, 0.45, 0.99], noise)) == 1
    assert np.argmax(TopRisk().score([0.05, 0.45, 0.99], noise)) == 2


def test_power_sampling_takes_cases_in_proportion_to_their_margin_s_power() -> None:
    random = np.random.default_rng(0)
    margins = np.array([0.1, 0.2, 0.4])
    firsts = [np.argmax(PowerMargin(2.0).score(margins, random.uniform(size=3))) for _ in range(20000)]
    expected = margins**2 / (margins**2).sum()
    assert np.bincount(firsts, minlength=3) / 20000 == pytest.approx(expected, abs=0.012)


def test_a_head_that_tells_no_cases_apart_is_random_sampling() -> None:
    noise = np.random.default_rng(1).uniform(size=50)
    ranked = np.argsort(PowerMargin().score(np.full(50, 0.5), noise))
    assert np.array_equal(ranked, np.argsort(noise))


def test_gumbel_noise_has_its_mean_and_variance() -> None:
    noise = gumbel(np.random.default_rng(2).uniform(size=200_000))
    assert noise.mean() == pytest.approx(0.5772, abs=0.01)
    assert noise.var() == pytest.approx(np.pi**2 / 6, rel=0.02)


@pytest.mark.parametrize(("count", "share"), [(0, 0.5), (8, 0.1), (98, 0.01)])
def test_too_few_peers_to_hold_the_share_flag_nothing(count: int, share: float) -> None:
    assert threshold_for(np.arange(count), share) == np.inf


def test_the_ends_of_the_share_flag_nothing_and_all() -> None:
    assert threshold_for([1.0, 2.0], 0.0) == np.inf
    assert threshold_for([], 1.0) == -np.inf
