"""Calibration: it never re-orders, few labels barely move it, many find the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from orthanc_al.methods.calibration import (
    FITTED_HEAD,
    Calibrator,
    Prior,
    expected_calibration_error,
    fit_calibrator,
    negative_log_likelihood,
)


def sample(n: int, slope: float, offset: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    logits = random.normal(-1.0, 3.0, n)
    return logits, (random.uniform(size=n) < expit(slope * logits + offset)).astype(int)


def test_many_labels_find_the_truth() -> None:
    fitted = fit_calibrator(*sample(50_000, 0.6, -1.5))
    assert fitted.slope == pytest.approx(0.6, abs=0.02)
    assert fitted.offset == pytest.approx(-1.5, abs=0.05)


def test_no_label_keeps_the_centre() -> None:
    assert fit_calibrator([], []) == Calibrator()
    assert fit_calibrator([], [], prior=Prior(Calibrator(0.5, -2.0))) == Calibrator(0.5, -2.0)


@pytest.mark.parametrize("prior", [Prior(), FITTED_HEAD, Prior(Calibrator(1.5, -2.0), 1.0, 1.0)])
def test_the_fit_is_the_optimum_of_the_penalised_likelihood(prior: Prior) -> None:
    logits, labels = sample(80, 0.5, -1.0, seed=4)

    def objective(theta: np.ndarray) -> float:
        z = np.exp(theta[0]) * logits + theta[1]
        away = theta[0] - np.log(prior.centre.slope), theta[1] - prior.centre.offset
        penalty = prior.slope_precision * away[0] ** 2 + prior.offset_precision * away[1] ** 2
        return float((np.logaddexp(0, z) - labels * z).sum() + 0.5 * penalty)

    best = minimize(objective, np.zeros(2), tol=1e-12)
    fitted = fit_calibrator(logits, labels, prior=prior)
    assert [np.log(fitted.slope), fitted.offset] == pytest.approx(best.x, abs=1e-4)


def test_eight_positives_do_not_double_the_likelihood_s_loss() -> None:
    """METHOD.md: with 80 audit labels an unpenalised fit doubles the NLL of separable cases."""
    logits = np.concatenate([np.linspace(-6, -1, 72), np.linspace(1, 4, 8)])
    fitted = fit_calibrator(logits, np.repeat([0, 1], [72, 8]))
    assert 0.5 < fitted.slope < 5.0
    assert abs(fitted.offset) < 3.0


def test_eighty_audits_hardly_spoil_a_head_whose_probabilities_are_true() -> None:
    """Over many audits of 80, what the weak prior loses on new cases is more than halved."""
    logits, labels = sample(20_000, 1.0, 0.0, seed=7)
    own = negative_log_likelihood(Calibrator().probability(logits), labels)

    def lost(prior: Prior) -> float:
        audits = [sample(80, 1.0, 0.0, seed=100 + seed) for seed in range(40)]
        fits = [fit_calibrator(*audit, prior=prior).probability(logits) for audit in audits]
        return float(np.mean([negative_log_likelihood(p, labels) for p in fits])) - own

    assert lost(FITTED_HEAD) < 0.02 * own
    assert lost(FITTED_HEAD) < lost(Prior()) / 2


def test_contradicting_labels_never_turn_the_order_around() -> None:
    logits, labels = sample(500, 1.0, 0.0)
    assert fit_calibrator(logits, 1 - labels).slope > 0.0


def test_extreme_logits_are_no_fault() -> None:
    fitted = fit_calibrator([1e4, -1e4, 50.0], [0, 1, 1])
    assert np.isfinite([fitted.slope, fitted.offset]).all()


def test_a_weight_of_two_is_the_case_twice() -> None:
    logits, labels = sample(60, 0.7, 0.3)
    twice = fit_calibrator(np.repeat(logits, 2), np.repeat(labels, 2))
    weighted = fit_calibrator(logits, labels, sample_weight=np.full(60, 2.0))
    assert weighted.slope == pytest.approx(twice.slope, rel=1e-6)
    assert weighted.offset == pytest.approx(twice.offset, abs=1e-6)


@given(
    st.floats(1e-3, 1e3),
    st.floats(-50, 50),
    st.lists(st.floats(-100, 100), min_size=2, max_size=20),
)
def test_calibration_is_monotone_and_stays_in_the_unit_interval(
    slope: float, offset: float, logits: list[float]
) -> None:
    p = Calibrator(slope, offset).probability(np.sort(logits))
    assert (np.diff(p) >= 0).all()
    assert ((p >= 0) & (p <= 1)).all()


@pytest.mark.parametrize(
    ("logits", "labels", "weights"),
    [
        ([0.0, 1.0], [0], None),
        ([[0.0]], [[1]], None),
        ([0.0], [2], None),
        ([np.inf], [1], None),
        ([0.0], [1], [-1.0]),
        ([0.0], [1], [1.0, 1.0]),
    ],
)
def test_nonsense_is_refused(logits: list, labels: list, weights: list | None) -> None:
    with pytest.raises(ValueError):
        fit_calibrator(logits, labels, sample_weight=weights)


@pytest.mark.parametrize(("slope", "offset"), [(0.0, 0.0), (-1.0, 0.0), (np.inf, 0.0), (1.0, np.nan)])
def test_a_calibrator_that_re_orders_can_t_be_made(slope: float, offset: float) -> None:
    with pytest.raises(ValueError):
        Calibrator(slope, offset)


def test_the_calibration_error_of_the_truth_is_small_and_of_a_shift_is_the_shift() -> None:
    random = np.random.default_rng(0)
    p = random.uniform(0.1, 0.8, 100_000)
    y = random.uniform(size=p.size) < p
    assert expected_calibration_error(p, y) < 0.01
    assert expected_calibration_error(p + 0.1, y) == pytest.approx(0.1, abs=0.01)


def test_weights_count_in_the_calibration_error_and_the_likelihood() -> None:
    assert expected_calibration_error([0.0, 1.0], [0, 0], [3.0, 1.0], bins=2) == pytest.approx(0.25)
    assert negative_log_likelihood([0.5, 0.25], [1, 1], [1.0, 3.0]) == pytest.approx(
        (np.log(2) + 3 * np.log(4)) / 4
    )


def test_a_certain_mistake_has_a_finite_likelihood() -> None:
    assert np.isfinite(negative_log_likelihood([0.0, 1.0], [1, 0]))
