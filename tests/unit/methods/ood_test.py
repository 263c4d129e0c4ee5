"""How far an embedding lies from those that the model was trained on."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf as theirs

from orthanc_al.methods.ood import Domain, fit_domain, ledoit_wolf


def embeddings(n: int, seed: int, d: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((d, d))
    return rng.standard_normal((n, d)) @ mixing + 3.0


@pytest.mark.parametrize(("n", "d"), [(30, 50), (300, 12), (2, 5)])
def test_shrinkage_is_scikit_learns(n: int, d: int) -> None:
    rows = embeddings(n, 0, d)
    covariance, share = ledoit_wolf(rows)
    expected, expected_share = theirs(rows)
    np.testing.assert_allclose(covariance, expected, rtol=1e-8)
    assert share == pytest.approx(expected_share)


def test_rows_without_any_spread_have_nothing_to_shrink() -> None:
    covariance, share = ledoit_wolf(np.ones((4, 3)))
    assert share == 0.0
    assert not covariance.any()


def test_the_limit_leaves_the_wanted_share_of_unseen_images_outside() -> None:
    domain = fit_domain(embeddings(2000, 1), embeddings(1000, 2), quantile=0.98)
    assert (domain.ratio(embeddings(1000, 2)) > 1).mean() == pytest.approx(0.02, abs=0.002)
    assert (domain.ratio(embeddings(5000, 3)) > 1).mean() == pytest.approx(0.02, abs=0.01)


def test_what_lies_elsewhere_is_outside() -> None:
    domain = fit_domain(embeddings(2000, 1), embeddings(1000, 2))
    assert (domain.ratio(embeddings(100, 4) + 40.0) > 1).all()


def test_trimming_keeps_junk_in_the_training_set_from_widening_the_domain() -> None:
    clean, unseen = embeddings(2000, 1), embeddings(1000, 2)
    far = np.random.default_rng(5).standard_normal((30, 12)) * 60.0
    spoilt = np.concatenate([clean, far])
    narrow, wide = fit_domain(spoilt, unseen), fit_domain(spoilt, unseen, trim=0.0)
    assert np.median(narrow.ratio(far)) > 2 * np.median(wide.ratio(far))


def test_a_feature_that_never_fired_is_no_reason_by_a_rounding_error_but_is_one_when_it_fires() -> None:
    def dead(rows: np.ndarray, value: float) -> np.ndarray:
        return np.column_stack([rows, np.full(len(rows), value)])

    domain = fit_domain(dead(embeddings(2000, 1), 0.0), dead(embeddings(1000, 2), 0.0))
    typical = dead(embeddings(1, 1), 0.0)
    assert domain.ratio(typical + 0.0)[0] < 1
    typical[0, -1] = 1e-6
    assert domain.ratio(typical)[0] < 1
    typical[0, -1] = 5.0
    assert domain.ratio(typical)[0] > 1


def test_an_embedding_that_is_not_finite_is_infinitely_far_away() -> None:
    domain = Domain(np.zeros(2, np.float32), np.eye(2, dtype=np.float32), 1.0)
    with np.errstate(invalid="ignore"):
        assert domain.ratio([[np.nan, 0.0], [np.inf, 0.0], [3.0, 4.0]]).tolist() == [np.inf, np.inf, 5.0]
