"""Distances of samples: against scikit-learn's or SciPy's own figures, and what chance gives."""

import numpy as np
import pytest
from scipy.stats import energy_distance

from orthanc_al.methods.drift import energy, kolmogorov_smirnov, mix, psi

random = np.random.default_rng(11)


def test_alike_is_near_zero_and_apart_is_found() -> None:
    old, same, other = (random.normal(shift, size=400) for shift in (0.0, 0.0, 0.6))
    for test in (kolmogorov_smirnov, psi):
        assert test(old, same).p_value > 0.001
        assert test(old, other).p_value < 0.001
    clouds = [random.normal(shift, size=(120, 8)) for shift in (0.0, 0.0, 0.4)]
    assert energy(clouds[0], clouds[1]).p_value > 0.01
    assert energy(clouds[0], clouds[2]).p_value == pytest.approx(1 / 1000)


def test_in_one_dimension_the_energy_is_that_of_scipy() -> None:
    x, y = random.normal(size=80), random.normal(0.5, size=60)
    spread = np.concatenate([x, y]).std()
    assert energy(x[:, None], y[:, None], 9).value == pytest.approx(
        energy_distance(x / spread, y / spread) ** 2
    )


@pytest.mark.parametrize("test", [kolmogorov_smirnov, psi])
def test_chance_is_called_drift_no_more_often_than_it_may(test) -> None:
    """2,000 days of 60 studies like the reference: p < .01 on at most 1 % and three standard errors."""
    draw = np.random.default_rng(3)
    false = 0
    for _ in range(2000):
        false += test(draw.normal(size=600), draw.normal(size=60)).p_value < 0.01
    assert false / 2000 <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / 2000)


def test_energy_by_permutation_is_exact() -> None:
    draw = np.random.default_rng(4)
    p = [energy(draw.normal(size=(40, 4)), draw.normal(size=(20, 4)), 99).p_value for _ in range(300)]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_psi_with_ties_and_empty_bins_stays_finite() -> None:
    assert psi([0.0] * 50, [0.0] * 20).p_value > 0.5
    assert np.isfinite(psi(np.arange(100), [1000.0] * 30).value)


def test_the_mix_of_categories() -> None:
    assert mix([90, 10], [45, 5]).value == pytest.approx(0.0)
    assert mix([900, 100], [50, 50]).p_value < 1e-6
    assert mix([10, 0], [5, 0]).p_value == 1.0
    assert mix([0, 0], [5, 1]).p_value == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: psi([], [1.0]),
        lambda: kolmogorov_smirnov([], [1.0]),
        lambda: energy(np.zeros((3, 2)), np.zeros((3, 3))),
        lambda: energy(np.zeros((1, 2)), np.zeros((3, 2))),
    ],
)
def test_what_can_not_be_compared_is_told(wrong) -> None:
    with pytest.raises(ValueError):
        wrong()
