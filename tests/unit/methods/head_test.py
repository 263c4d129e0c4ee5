"""The head's fit: one answer, and what is not known about it."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from orthanc_al.methods.head import LOGIT_VARIANCES, fit_head, moderated_probability
from orthanc_al.methods.laplace import fit_laplace


def cases(n: int = 400, d: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(d)
    embeddings = rng.standard_normal((n, d))
    labels = (rng.random(n) < 1 / (1 + np.exp(-embeddings @ truth + 0.7))).astype(float)
    return embeddings, labels, truth


@pytest.mark.parametrize("precision", [0.5, 5.0, 50.0])
def test_a_fit_about_zero_is_scikit_learns(precision: float) -> None:
    embeddings, labels, _ = cases()
    ours = fit_laplace(embeddings, labels, np.zeros(7), precision)
    theirs = LogisticRegression(C=1.0 / precision, tol=1e-10, max_iter=10_000).fit(embeddings, labels)
    np.testing.assert_allclose(ours.mode[:-1], theirs.coef_[0], atol=2e-3)
    np.testing.assert_allclose(ours.mode[-1], theirs.intercept_[0], atol=2e-3)


def test_a_centre_is_the_same_as_an_offset_on_the_logits() -> None:
    embeddings, labels, truth = cases()
    mean = np.append(truth, 0.3)
    fit = fit_laplace(embeddings, labels, mean, 3.0)
    p = 1 / (1 + np.exp(-(embeddings @ fit.mode[:-1] + fit.mode[-1])))
    gradient = embeddings.T @ (labels - p) - 3.0 * (fit.mode[:-1] - truth)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-2)
    assert (labels - p).sum() - 0.01 * (fit.mode[-1] - 0.3) == pytest.approx(0.0, abs=1e-2)


def test_without_reads_the_head_is_the_prior_averaged_over_its_centres() -> None:
    weight = np.array([1.0, -2.0])
    head = fit_head(np.zeros((0, 2)), np.zeros(0), weight, 0.6)
    np.testing.assert_allclose(head.weight, 0.5 * weight)
    assert head.bias == pytest.approx(0.3)
    only = fit_head(np.zeros((0, 2)), np.zeros(0), weight, 0.6, centres=(1.0,))
    np.testing.assert_allclose(only.weight, weight)


def test_few_reads_stay_near_the_factory_and_many_leave_it() -> None:
    embeddings, labels, truth = cases(n=2000)
    wrong = -truth
    few = fit_head(embeddings[:6], labels[:6], truth)
    many = fit_head(embeddings, labels, wrong)
    assert few.weight @ truth / np.linalg.norm(few.weight) / np.linalg.norm(truth) > 0.9
    assert many.weight @ truth / np.linalg.norm(many.weight) / np.linalg.norm(truth) > 0.95


def test_a_weight_of_two_is_the_case_twice() -> None:
    embeddings, labels, truth = cases(n=60)
    weights = np.random.default_rng(1).integers(0, 4, 60)
    weighted = fit_head(embeddings, labels, truth, sample_weight=weights)
    repeated = fit_head(np.repeat(embeddings, weights, 0), np.repeat(labels, weights), truth)
    np.testing.assert_allclose(weighted.weight, repeated.weight, atol=1e-5)
    np.testing.assert_allclose(weighted.covariance, repeated.covariance, atol=1e-5)


def test_the_same_reads_give_the_same_bits() -> None:
    embeddings, labels, truth = cases()
    first, second = (fit_head(embeddings, labels, truth) for _ in range(2))
    np.testing.assert_array_equal(first.weight, second.weight)
    np.testing.assert_array_equal(first.covariance, second.covariance)


def test_separable_classes_still_have_a_finite_head() -> None:
    embeddings = np.concatenate([np.full((20, 2), -3.0), np.full((20, 2), 3.0)])
    labels = np.repeat([0.0, 1.0], 20)
    head = fit_head(embeddings, labels, np.zeros(2))
    assert np.isfinite(head.weight).all()
    assert (head.logits(embeddings) > 0).tolist() == labels.astype(bool).tolist()


def test_a_start_far_from_the_mode_arrives_all_the_same() -> None:
    """Undamped Newton diverges from there: all curvature is gone."""
    embeddings, labels, _ = cases()
    far = fit_laplace(embeddings, labels, np.full(7, 40.0), 1e-4)
    near = fit_laplace(embeddings, labels, np.zeros(7), 1e-4)
    np.testing.assert_allclose(far.mode, near.mode, atol=0.05)


def test_the_evidence_is_the_integral_of_likelihood_times_prior() -> None:
    """One feature: the integral over weight and bias on a grid."""
    embeddings, labels, _ = cases(n=40, d=1)
    fit = fit_laplace(embeddings, labels, np.zeros(2), 2.0)
    w, b = np.meshgrid(np.linspace(-8, 8, 801), np.linspace(-8, 8, 801), indexing="ij")
    logits = embeddings[:, 0, None, None] * w + b
    likelihood = (labels[:, None, None] * logits - np.logaddexp(0, logits)).sum(0)
    prior = -(w**2) - 0.005 * b**2 + 0.5 * np.log(2.0 / (2 * np.pi)) + 0.5 * np.log(0.01 / (2 * np.pi))
    cell = (16 / 800) ** 2
    integral = np.log((np.exp(likelihood + prior - (likelihood + prior).max())).sum() * cell)
    assert fit.log_evidence == pytest.approx(integral + (likelihood + prior).max(), abs=0.1)


def test_variances_are_those_of_the_linear_form() -> None:
    embeddings, labels, truth = cases(n=30)
    head = fit_head(embeddings, labels, truth)
    design = np.column_stack([embeddings, np.ones(30)])
    expected = [row @ head.covariance @ row for row in design]
    np.testing.assert_allclose(head.variances(embeddings), expected, rtol=1e-10)


def test_more_reads_leave_less_uncertainty() -> None:
    embeddings, labels, truth = cases(n=800)
    few, many = fit_head(embeddings[:40], labels[:40], truth), fit_head(embeddings, labels, truth)
    assert (many.variances(embeddings) < few.variances(embeddings)).all()


def test_moderation_pulls_towards_one_half_and_never_across() -> None:
    logits, variances = np.array([-3.0, 0.0, 3.0]), np.array([0.0, 5.0, 5.0])
    plain = 1 / (1 + np.exp(-logits))
    moderated = moderated_probability(logits, variances)
    assert moderated[0] == pytest.approx(plain[0])
    assert moderated[1] == 0.5
    assert 0.5 < moderated[2] < plain[2]


@pytest.mark.parametrize(
    ("labels", "weights", "prior", "text"),
    [
        ([0.0, 1.0, 0.0], None, [0.0], "labels"),
        ([0.0, 0.5], None, [0.0], "0 or 1"),
        ([0.0, 1.0], [1.0, -1.0], [0.0], "not negative"),
        ([0.0, 1.0], None, [0.0, 0.0], "prior"),
    ],
)
def test_what_does_not_fit_together_is_an_error(labels, weights, prior, text) -> None:
    with pytest.raises(ValueError, match=text):
        fit_head(np.ones((2, 1)), labels, prior, sample_weight=weights)


def test_embeddings_are_a_matrix() -> None:
    with pytest.raises(ValueError, match="shape"):
        fit_head(np.ones(3), np.ones(3), [0.0])


def test_fewer_reads_than_features_give_the_same_head_as_the_whole_space() -> None:
    """Within the span of the reads, as the module says; against the average of full fits."""
    embeddings, labels, truth = cases(n=25, d=40)
    head = fit_head(embeddings, labels, truth, 0.3)
    fits, evidence = [], []
    mean_square = (embeddings**2).sum(1).mean()
    for precision in mean_square / np.array(LOGIT_VARIANCES):
        for c in (0.0, 0.5, 1.0):
            fits.append(fit_laplace(embeddings, labels, c * np.append(truth, 0.3), precision))
            evidence.append(fits[-1].log_evidence)
    shares = np.exp(np.array(evidence) - max(evidence))
    shares /= shares.sum()
    mean = sum(share * fit.mode for share, fit in zip(shares, fits, strict=True))
    np.testing.assert_allclose(np.append(head.weight, head.bias), mean, atol=2e-3)
    covariance = sum(
        share * (fit.covariance + np.outer(fit.mode - mean, fit.mode - mean))
        for share, fit in zip(shares, fits, strict=True)
    )
    np.testing.assert_allclose(head.covariance, covariance, atol=5e-3)


def test_priors_that_are_left_out_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels, truth = cases(n=3000, d=6)
    quick = fit_head(embeddings, labels, truth)
    monkeypatch.setattr("orthanc_al.methods.head._NEGLIGIBLE", np.inf)
    whole = fit_head(embeddings, labels, truth)
    np.testing.assert_allclose(quick.weight, whole.weight, atol=1e-4)
    np.testing.assert_allclose(quick.covariance, whole.covariance, atol=1e-6)


def test_copies_of_one_read_span_one_direction() -> None:
    embeddings = np.tile(np.arange(1.0, 9.0), (5, 1))
    head = fit_head(embeddings, np.ones(5), np.zeros(8))
    assert np.isfinite(head.weight).all()
    assert (np.linalg.eigvalsh(head.covariance) > 0).all()


def test_an_embedding_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(ValueError, match="not finite"):
        fit_head([[1.0], [np.nan]], [0.0, 1.0], [0.0])


def test_the_unit_of_the_embeddings_does_not_matter() -> None:
    embeddings, labels, truth = cases(n=50)
    head, thousandfold = fit_head(embeddings, labels, truth), fit_head(1e3 * embeddings, labels, truth / 1e3)
    np.testing.assert_allclose(thousandfold.logits(1e3 * embeddings), head.logits(embeddings), atol=1e-4)
