"""What every strategy of selection promises, of a pool and, where it has a score, of a stream."""

import numpy as np
import pytest
from skactiveml.classifier import SklearnClassifier
from skactiveml.pool import CoreSet, UncertaintySampling
from skactiveml.utils import MISSING_LABEL
from sklearn.linear_model import LogisticRegression

from orthanc_al.methods import acquisition
from orthanc_al.methods.acquisition import (
    Pool,
    PowerMargin,
    Random,
    Scoring,
    Strategy,
    TopRisk,
    gumbel,
    threshold_for,
)
from orthanc_al.methods.acquisition.bald import information
from orthanc_al.methods.acquisition.diverse_power_margin import spread

STRATEGIES: tuple[Strategy, ...] = (
    Random(),
    acquisition.StratifiedQuantiles(),
    acquisition.StratifiedProbability(),
    acquisition.Margin(),
    PowerMargin(),
    acquisition.DiversePowerMargin(),
    acquisition.Bald(),
    acquisition.Badge(),
    acquisition.KCenter(),
    acquisition.ClusterMargin(),
    acquisition.Typicality(),
    TopRisk(),
)
SCORING: tuple[Scoring, ...] = (Random(), PowerMargin(), TopRisk(), acquisition.Margin())


def a_pool(count: int = 80, labelled: int = 6, seed: int = 3, d: int = 5) -> Pool:
    random = np.random.default_rng(seed)
    return Pool(
        logits=random.normal(-2.0, 2.0, count),
        embeddings=random.standard_normal((count, d)),
        uniforms=random.uniform(1e-9, 1.0, count),
        variances=random.uniform(0.0, 3.0, count),
        labelled=random.standard_normal((labelled, d)),
    )


@pytest.fixture(params=STRATEGIES, ids=lambda one: one.name)
def choosing(request: pytest.FixtureRequest) -> Strategy:
    return request.param


@pytest.mark.parametrize(("count", "labelled"), [(1, 0), (8, 0), (8, 6), (80, 6), (200, 6)])
def test_as_many_rows_as_asked_each_once(choosing: Strategy, count: int, labelled: int) -> None:
    chosen = choosing.choose(a_pool(labelled=labelled), count)
    assert len(chosen) == len(set(chosen.tolist())) == min(count, 80)
    assert set(chosen.tolist()) <= set(range(80))


def test_nothing_of_nothing(choosing: Strategy) -> None:
    assert choosing.choose(a_pool(0), 5).shape == (0,)
    assert choosing.choose(a_pool(), 0).shape == (0,)


def test_the_same_noise_chooses_the_same_rows(choosing: Strategy) -> None:
    assert np.array_equal(choosing.choose(a_pool(), 9), choosing.choose(a_pool(), 9))


def test_a_pool_of_copies_of_one_certain_study_is_no_fault(choosing: Strategy) -> None:
    pool = Pool(
        np.full(12, -900.0), np.ones((12, 3)), np.linspace(0.01, 0.99, 12), np.zeros(12), np.ones((2, 3))
    )
    assert len(set(choosing.choose(pool, 5).tolist())) == 5


def test_a_strategy_leaves_the_pool_as_it_is(choosing: Strategy) -> None:
    pool, before = a_pool(), a_pool()
    choosing.choose(pool, 7)
    assert np.array_equal(pool.embeddings, before.embeddings)
    assert np.array_equal(pool.logits, before.logits)


def test_margin_is_scikit_activemls() -> None:
    random = np.random.default_rng(0)
    seen, labels = random.standard_normal((60, 5)), np.tile([0, 1], 30)
    pool = a_pool()
    model = LogisticRegression().fit(seen, labels)
    oracle = UncertaintySampling(method="margin_sampling", random_state=0)
    classifier = SklearnClassifier(LogisticRegression(), classes=[0, 1])
    _, theirs = oracle.query(seen, labels, classifier, candidates=pool.embeddings, return_utilities=True)
    ours = Pool(
        model.decision_function(pool.embeddings), pool.embeddings, pool.uniforms, pool.variances, seen
    )
    assert np.array_equal(np.argsort(-theirs[0])[:9], acquisition.Margin().choose(ours, 9))


def test_k_center_is_scikit_activemls_core_set() -> None:
    pool = a_pool()
    rows = np.concatenate([pool.labelled, pool.embeddings])
    labels = np.concatenate([np.zeros(6), np.full(80, MISSING_LABEL)])
    theirs = CoreSet(random_state=0).query(rows, labels, batch_size=10)
    assert np.array_equal(theirs - 6, acquisition.KCenter().choose(pool, 10))


def test_bald_is_the_mutual_information_of_samples_of_the_posterior() -> None:
    random = np.random.default_rng(1)
    for mean, variance in ((0.0, 1.0), (2.0, 4.0), (-1.0, 0.2)):
        p = 1 / (1 + np.exp(-random.normal(mean, np.sqrt(variance), 400_000)))
        entropy = lambda q: -q * np.log(q) - (1 - q) * np.log(1 - q)  # noqa: E731
        expected = entropy(p.mean()) - entropy(p).mean()
        assert information(np.array([mean]), np.array([variance]))[0] == pytest.approx(expected, abs=2e-3)
    assert information(np.array([0.0]), np.array([0.0]))[0] == pytest.approx(0.0, abs=1e-12)


def test_of_two_neighbours_diversity_takes_one() -> None:
    embeddings = np.array([[0.0, 0.0], [0.01, 0.0], [3.0, 0.0]])
    pool = Pool(np.array([0.0, 0.0, -1.0]), embeddings, np.full(3, 0.5), np.zeros(3), np.empty((0, 2)))
    assert spread(pool, 2).tolist() == [0, 2]


def test_what_looks_like_a_labelled_study_comes_last() -> None:
    embeddings = np.array([[0.0, 0.0], [2.0, 0.0]])
    pool = Pool(np.array([0.0, -1.0]), embeddings, np.full(2, 0.5), np.zeros(2), np.zeros((1, 2)))
    assert spread(pool, 2).tolist() == [1, 0]


def test_a_cap_spreads_the_batch_over_scanners_and_leaves_nothing_unspent() -> None:
    pool = a_pool(12, 0)
    scanners = ["a"] * 10 + ["b"] * 2
    chosen = [scanners[row] for row in spread(pool, 4, scanners, 2)]
    assert sorted(chosen) == ["a", "a", "b", "b"]
    assert len(spread(pool, 8, scanners, 2)) == 8


def test_strat_p_takes_rare_scores_as_often_as_frequent_ones() -> None:
    logits = np.concatenate([np.full(90, -4.0), np.linspace(-1.0, 4.0, 10)])
    pool = Pool(
        logits,
        np.zeros((100, 1)),
        np.random.default_rng(0).uniform(size=100),
        np.zeros(100),
        np.empty((0, 1)),
    )
    assert (acquisition.StratifiedProbability().choose(pool, 8) < 90).sum() <= 2


@pytest.fixture(params=SCORING, ids=lambda one: one.name)
def strategy(request: pytest.FixtureRequest) -> Scoring:
    return request.param


@pytest.fixture
def pool() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    return random.beta(0.5, 3.0, 4000), random.uniform(1e-9, 1.0, 4000)


def test_one_finite_score_a_case(strategy: Scoring, pool: tuple[np.ndarray, np.ndarray]) -> None:
    scores = strategy.score(*pool)
    assert scores.shape == (4000,)
    assert np.isfinite(scores).all()


def test_certain_cases_have_finite_scores(strategy: Scoring) -> None:
    assert np.isfinite(strategy.score([0.0, 1.0], [0.5, 0.5])).all()


def test_an_empty_pool_is_no_fault(strategy: Scoring) -> None:
    assert strategy.score([], []).shape == (0,)
    assert strategy.chance([], 0.0).shape == (0,)


def test_the_same_noise_gives_the_same_scores(strategy: Scoring, pool: tuple[np.ndarray, np.ndarray]) -> None:
    assert np.array_equal(strategy.score(*pool), strategy.score(*pool))


def test_a_case_s_score_does_not_depend_on_its_company(
    strategy: Scoring, pool: tuple[np.ndarray, np.ndarray]
) -> None:
    probabilities, noise = pool
    alone = [strategy.score([p], [u])[0] for p, u in zip(probabilities[:20], noise[:20], strict=True)]
    assert np.allclose(alone, strategy.score(probabilities, noise)[:20])


def test_the_chance_is_the_frequency_with_which_the_threshold_is_passed(strategy: Scoring) -> None:
    noise = np.random.default_rng(8).uniform(1e-12, 1.0, 20000)
    for p in (0.02, 0.3, 0.5, 0.9):
        scores = strategy.score(np.full(noise.size, p), noise)
        for threshold in (-4.0, 0.2, 0.7):
            assert strategy.chance([p], threshold)[0] == pytest.approx(np.mean(scores > threshold), abs=0.015)


def test_nothing_is_spared_below_every_threshold(strategy: Scoring) -> None:
    assert strategy.chance([0.1, 0.5], -np.inf).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_a_stream_is_flagged_at_its_share(
    strategy: Scoring, pool: tuple[np.ndarray, np.ndarray], share: float
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
