"""Automation bias: found where it is, not where it only looks so, and its interval covers."""

import numpy as np
import pytest

from orthanc_al.methods.automation_bias import automation_bias


def reads(rng: np.random.Generator, count: int, pull: float, *, alike: bool = True) -> tuple:
    """Readers who agree with the model with probability .6 + pull if shown; shown reads are unsure cases."""
    shown = rng.random(count) < 0.5
    p = rng.random(count)
    if not alike:
        p = np.where(shown, 0.35 + 0.3 * p, p)
    sure = np.abs(p - 0.5)
    agree = rng.random(count) < 0.55 + 0.7 * sure + pull * shown
    return p, np.where(agree, p >= 0.5, p < 0.5), shown


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    made = [automation_bias(*reads(rng, 400, 0.08)) for _ in range(400)]
    covered = np.mean([one.low <= 0.08 <= one.high for one in made if one])
    assert 0.95 - 3.5 * np.sqrt(0.95 * 0.05 / 400) <= covered <= 0.985
    assert np.mean([one.difference for one in made if one]) == pytest.approx(0.08, abs=0.01)


def test_that_unsure_cases_are_asked_about_is_no_bias() -> None:
    p, present, shown = reads(np.random.default_rng(2), 40_000, 0.0, alike=False)
    found = automation_bias(p, present, shown, strata=50)
    assert found is not None
    agreed = (p >= 0.5) == present
    assert agreed[shown].mean() < agreed[~shown].mean() - 0.05  # as counted it looks like its opposite
    assert found.low <= 0.0 <= found.high


def test_what_can_t_be_compared_is_none() -> None:
    assert automation_bias([], [], []) is None
    assert automation_bias([0.2, 0.3], [False, True], [True, True]) is None


def test_two_reads_that_differ_in_nothing_but_what_was_seen() -> None:
    found = automation_bias([0.9, 0.9], [True, False], [True, False])
    assert found is not None
    assert (found.difference, found.shown, found.blind) == (1.0, 1, 1)


@pytest.mark.parametrize(
    ("p", "present", "told"),
    [([0.1], [True, False], "1 probabilities, 2 reads"), ([np.nan], [True], "not a number")],
)
def test_bad_input_is_told(p: list, present: list, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        automation_bias(p, present, [True] * len(present))
