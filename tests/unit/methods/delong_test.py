"""AUC and its variance against brute force and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from orthanc_al.methods.delong import auc, auc_interval, compare, delong_covariance, expected_error


def case(seed: int, n: int = 120, models: int = 2, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.uniform(size=n) < 0.3).astype(int)
    scores = random.normal(size=(models, n)) + labels * 1.2
    return (np.round(scores) if ties else scores), labels


def structural(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's structural components by their definition: each pair of cases compared."""
    positive, negative = scores[:, labels == 1], scores[:, labels == 0]
    kernel = np.sign(positive[:, :, None] - negative[:, None, :]) / 2.0 + 0.5
    m, n = positive.shape[1], negative.shape[1]
    return kernel.mean((1, 2)), np.cov(kernel.mean(2)) / m + np.cov(kernel.mean(1)) / n


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_midranks_give_what_comparing_all_pairs_gives(seed: int, ties: bool) -> None:
    scores, labels = case(seed, models=3, ties=ties)
    areas, covariance = delong_covariance(scores, labels)
    expected_areas, expected_covariance = structural(scores, labels)
    assert areas == pytest.approx(expected_areas, abs=1e-12)
    assert covariance == pytest.approx(expected_covariance, abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_the_area_is_scikit_learn_s(ties: bool) -> None:
    scores, labels = case(9, models=1, ties=ties)
    assert auc(scores[0], labels) == pytest.approx(roc_auc_score(labels, scores[0]), abs=1e-12)


def test_the_variance_is_that_of_repeated_samples() -> None:
    areas, errors = [], []
    for seed in range(400):
        scores, labels = case(seed, models=1)
        area, covariance = delong_covariance(scores, labels)
        areas.append(area[0])
        errors.append(covariance[0, 0])
    assert np.mean(errors) == pytest.approx(np.var(areas), rel=0.2)


def test_one_sided_bounds_hold_as_often_as_they_say() -> None:
    """Two models of equal worth: a 95 % lower bound above 0 in about 5 % of samples (SE 1 %)."""
    false = sum(compare(*case(seed)[0], case(seed)[1]).lower > 0 for seed in range(500))
    assert 10 <= false <= 45


def test_a_model_against_itself_differs_by_nothing() -> None:
    scores, labels = case(1)
    same = compare(scores[0], scores[0], labels)
    assert (same.difference, same.standard_error, same.lower, same.upper) == (0.0, 0.0, 0.0, 0.0)


def test_bounds_lie_about_the_difference() -> None:
    scores, labels = case(2)
    compared = compare(scores[0], scores[1], labels, level=0.9)
    assert compared.lower < compared.difference < compared.upper
    assert compared.new == pytest.approx(auc(scores[0], labels))
    assert compared.old == pytest.approx(auc(scores[1], labels))


def test_an_interval_is_clipped_to_what_an_area_can_be() -> None:
    labels = np.repeat([0, 1], 6)
    scores = np.arange(12.0)
    scores[5] = 6.5
    area, low, high = auc_interval(scores, labels)
    assert 0.0 <= low < area < high <= 1.0


def test_the_expected_error_sets_the_plan_s_margin() -> None:
    """METHOD.md: .025 for 100 positives and 900 negatives."""
    assert 1.645 * expected_error(0.95, 100, 900) == pytest.approx(0.025, abs=0.0005)
    assert expected_error(0.95, 20, 40) > expected_error(0.95, 40, 80)


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0, 0], [0, 1, 2], [0, 1]])
def test_an_area_takes_both_classes(labels: list[int]) -> None:
    with pytest.raises(ValueError):
        auc([0.1, 0.2, 0.3], labels)


@pytest.mark.parametrize("labels", [[1, 0, 0, 0], [1, 1, 1, 0]])
def test_a_variance_takes_two_of_each(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="two cases"):
        compare([1, 2, 3, 4], [1, 2, 3, 4], labels)
