"""Audit draws, weighted estimators and the bootstrap."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from orthanc_al.methods import audit
from orthanc_al.methods.bootstrap import by_patient
from orthanc_al.methods.estimators import hajek_mean, horvitz_thompson_total, weighted_auc, weights


@pytest.mark.parametrize("pi", [0.0, 0.02, 0.3, 1.0])
def test_studies_are_drawn_with_their_propensity(pi: float) -> None:
    drawn = np.mean([audit.is_drawn("seed", f"1.2.{n}", pi) for n in range(20_000)])
    assert drawn == pytest.approx(pi, abs=4 * np.sqrt(pi * (1 - pi) / 20_000) + 1e-12)


def test_a_draw_repeats_and_another_seed_draws_others() -> None:
    first, again, other = (
        [audit.is_drawn(seed, f"1.2.{n}", 0.5) for n in range(200)] for seed in ("a", "a", "b")
    )
    assert first == again
    assert first != other


def test_numbers_for_different_ends_are_independent() -> None:
    a = [audit.uniform("s", "audit", str(n)) for n in range(5000)]
    b = [audit.uniform("s", "query", str(n)) for n in range(5000)]
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.06
    assert 0.0 < min(a) < max(a) < 1.0


def test_folds_have_their_shares_and_a_patient_has_one() -> None:
    folds = [audit.fold_of("seed", str(n)) for n in range(10_000)]
    for name, share in audit.FOLDS:
        assert folds.count(name) / 10_000 == pytest.approx(share, abs=0.02)
    assert folds[17] == audit.fold_of("seed", "17")


@pytest.mark.parametrize(
    ("budget", "fraction", "expected", "pi"),
    [(20, 0.2, 100, 0.04), (20, 0.2, 2, 1.0), (0, 0.2, 100, 0.0), (20, 0.0, 0, 0.0), (20, 0.5, 0, 1.0)],
)
def test_the_propensity_spends_the_audit_s_share(
    budget: float, fraction: float, expected: float, pi: float
) -> None:
    assert audit.propensity(budget, fraction, expected) == pi


def test_a_service_in_its_first_hour_expects_a_hundred_a_day_and_learns_better() -> None:
    assert audit.expected_per_day(0, 0.0) == 100.0
    assert audit.expected_per_day(14 * 400, 14.0) == pytest.approx(400, rel=0.06)


def test_a_fingerprint_does_not_give_the_seed_away() -> None:
    assert audit.fingerprint("secret") == audit.fingerprint("secret")
    assert "secret" not in audit.fingerprint("secret")


def population() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = (random.uniform(size=6000) < 0.1).astype(int)
    scores = random.normal(size=6000) + 1.5 * labels
    return scores, labels, np.clip(np.exp(scores - 2.0), 0.1, 1.0)  # risky cases are drawn more often


def test_weighted_figures_of_chosen_cases_are_those_of_all_cases() -> None:
    scores, labels, pi = population()
    random = np.random.default_rng(1)
    rates, areas, naive, totals = [], [], [], []
    for _ in range(200):
        drawn = random.uniform(size=pi.size) < pi
        rates.append(hajek_mean(labels[drawn], pi[drawn]))
        totals.append(horvitz_thompson_total(labels[drawn], pi[drawn]))
        areas.append(weighted_auc(scores[drawn], labels[drawn], pi[drawn]))
        naive.append(labels[drawn].mean())
    assert np.mean(rates) == pytest.approx(labels.mean(), abs=0.003)
    assert np.mean(totals) == pytest.approx(labels.sum(), rel=0.02)
    assert np.mean(areas) == pytest.approx(roc_auc_score(labels, scores), abs=0.005)
    assert np.mean(naive) > labels.mean() + 0.05  # what it would be without weights


def test_equal_propensities_are_the_plain_figures() -> None:
    random = np.random.default_rng(2)
    labels, scores = random.integers(0, 2, 300), np.round(random.normal(size=300), 1)
    assert hajek_mean(labels, np.full(300, 0.3)) == pytest.approx(labels.mean())
    assert weighted_auc(scores, labels, np.full(300, 0.3)) == pytest.approx(roc_auc_score(labels, scores))


@pytest.mark.parametrize("pi", [0.0, -0.1, 1.1, np.nan])
def test_a_case_that_could_not_be_drawn_has_no_weight(pi: float) -> None:
    with pytest.raises(ValueError):
        weights([0.5, pi])


def test_estimates_from_nothing_are_refused() -> None:
    with pytest.raises(ValueError):
        hajek_mean([], [])
    with pytest.raises(ValueError):
        weighted_auc([1.0, 2.0], [1, 1], [0.5, 0.5])


def test_resamples_take_whole_patients() -> None:
    patients = ["a", "a", "b", "c"]
    seen: list[list[int]] = []

    def look(rows: np.ndarray) -> float:
        seen.append(sorted(rows.tolist()))
        return 0.0

    by_patient(look, patients, resamples=50)
    assert all(rows.count(0) == rows.count(1) for rows in seen)
    assert len({tuple(rows) for rows in seen}) > 5


def test_the_bootstrap_s_spread_is_the_standard_error() -> None:
    values = np.random.default_rng(3).normal(size=200)
    means = by_patient(lambda rows: float(values[rows].mean()), list(range(200)), resamples=2000, seed=1)
    assert means.std() == pytest.approx(values.std() / np.sqrt(200), rel=0.08)
    assert (np.diff(means) >= 0).all()
    again = by_patient(lambda rows: float(values[rows].mean()), list(range(200)), resamples=2000, seed=1)
    assert np.array_equal(means, again)


def test_undefined_resamples_are_left_out() -> None:
    assert by_patient(lambda _: np.nan, ["a", "b"], resamples=10).size == 0
    assert by_patient(lambda _: 1.0, [], resamples=10).size == 0
