"""Agreement of two models, against figures by hand and by SciPy."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from orthanc_al.methods.agreement import agreement


def test_the_figures_are_those_of_the_textbook() -> None:
    a = np.repeat([True, True, False, False], [20, 5, 10, 15])
    b = np.repeat([True, False, True, False], [20, 5, 10, 15])
    x, y = np.random.default_rng(0).normal(size=(2, 50))
    found = agreement(x, y, a, b)
    assert found.same_side == 0.7
    assert found.kappa == pytest.approx(0.4)  # Cohen's kappa of the table 20, 5, 10, 15
    assert found.rank_correlation == pytest.approx(spearmanr(x, y).statistic)
    assert (found.flagged, found.other_flagged, found.studies) == (0.5, 0.6, 50)


def test_models_that_say_one_thing_have_no_figure_beyond_chance() -> None:
    found = agreement([0.0, 0.0], [1.0, 2.0], [False, False], [False, False])
    assert (found.same_side, found.kappa, found.rank_correlation) == (1.0, None, None)


def test_no_study_is_no_disagreement() -> None:
    assert agreement([], [], [], []).studies == 0
