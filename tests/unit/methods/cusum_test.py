"""The chart of a rate: how often it tells without a reason, and how soon with one."""

import numpy as np
import pytest

from orthanc_al.methods.cusum import Chart, average_run_length, design

ACCEPTED, WORSE = 0.1, 0.2


def run_lengths(chart: Chart, rate: float, paths: int = 4000, seed: int = 1) -> np.ndarray:
    """Cases until the alarm on simulated paths, all of which run until it comes."""
    rng = np.random.default_rng(seed)
    level, length = np.zeros(paths, int), np.zeros(paths, int)
    running = np.ones(paths, bool)
    while running.any():
        event = rng.random(running.sum()) < rate
        level[running] = np.maximum(0, level[running] + np.where(event, chart.up, -1))
        length[running] += 1
        running &= level < chart.limit
    return length


@pytest.mark.parametrize(("accepted", "worse"), [(0.02, 0.05), (0.1, 0.2), (0.3, 0.5)])
def test_false_alarms_are_as_seldom_as_was_asked_for_by_simulation(accepted: float, worse: float) -> None:
    chart = design(accepted, worse, 500.0)
    assert chart.run_length >= 500.0
    assert Chart(accepted, chart.up, chart.limit - 1).run_length < 500.0  # no wider than it has to be
    seen = run_lengths(chart, accepted)
    assert seen.mean() == pytest.approx(chart.run_length, abs=4.0 * seen.std() / np.sqrt(seen.size))


def test_a_rise_is_told_long_before_a_false_alarm_and_as_soon_as_computed() -> None:
    chart = design(ACCEPTED, WORSE, 1000.0)
    seen = run_lengths(chart, WORSE)
    assert seen.mean() == pytest.approx(chart.run_length_at(WORSE), abs=4.0 * seen.std() / np.sqrt(seen.size))
    assert seen.mean() < chart.run_length / 10.0


def test_the_steps_are_those_of_the_likelihood_ratio_and_never_below_zero() -> None:
    chart = Chart(ACCEPTED, up=6, limit=10)
    assert chart.path([0, 0, 1, 0, 0, 1]).tolist() == [0, 0, 6, 5, 4, 10]
    assert chart.alarm([0, 0, 1, 0, 0, 1, 0]) == 5
    assert chart.alarm([0] * 50) is None
    assert chart.alarm([]) is None


def test_a_chart_of_one_step_is_a_geometric_wait() -> None:
    assert average_run_length(0.25, up=1, limit=1) == pytest.approx(4.0)
    assert average_run_length(0.0, up=1, limit=1) == np.inf


@pytest.mark.parametrize(("accepted", "worse"), [(0.2, 0.1), (0.0, 0.1), (0.5, 1.0), (0.1, 0.1)])
def test_rates_that_are_not_in_order_are_refused(accepted: float, worse: float) -> None:
    with pytest.raises(ValueError, match="0 < accepted < worse < 1"):
        design(accepted, worse, 100.0)


def test_a_run_length_that_no_limit_gives_is_told() -> None:
    with pytest.raises(ValueError, match="no limit up to"):
        design(0.5, 0.500001, 1e12)
