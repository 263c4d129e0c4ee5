"""The factory's figures and the card that is made of them."""

import numpy as np
import pytest

from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.inference.manifest import Calibration, FindingEntry, Manifest, Origin
from orthanc_al.inference.thresholds import Thresholds
from orthanc_al.learn.factory.card import model_card
from orthanc_al.learn.factory.figures import (
    ASSUMED_PREVALENCE,
    Scored,
    calibrate,
    discrimination,
    operation,
    outside,
    prevalence_weights,
)
from orthanc_al.methods.calibration import Calibrator
from orthanc_al.methods.ood import Domain


def scored(n: int = 600, gap: float = 3.0, prevalence: float = 0.75, seed: int = 0) -> Scored:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < prevalence).astype(np.int64)
    logits = rng.standard_normal(n) + gap * (labels - 0.5)
    embeddings = rng.standard_normal((n, 3)).astype(np.float32)
    return Scored(embeddings, logits, labels, tuple(f"P{row // 2}" for row in range(n)))


def test_weights_make_the_assumed_prevalence_and_keep_the_number() -> None:
    labels = scored().labels
    weights = prevalence_weights(labels)
    assert weights @ labels / weights.sum() == pytest.approx(ASSUMED_PREVALENCE)
    assert weights.sum() == pytest.approx(len(labels))


def test_probabilities_fit_the_assumed_prevalence_and_not_that_of_the_training_films() -> None:
    films = scored(4000)
    calibrator, _ = calibrate(films)
    probabilities = calibrator.probability(films.logits)
    weights = prevalence_weights(films.labels)
    assert np.average(probabilities, weights=weights) == pytest.approx(ASSUMED_PREVALENCE, abs=0.01)


def test_thresholds_hold_what_they_are_named_for() -> None:
    films = scored(4000)
    calibrator, thresholds = calibrate(films)
    probabilities = calibrator.probability(films.logits)
    assert (probabilities[films.labels == 1] > thresholds.operating).mean() == pytest.approx(0.95, abs=0.01)
    assert thresholds.high is not None
    assert (probabilities[films.labels == 0] > thresholds.high).mean() <= 0.10
    assert thresholds.low is None


def test_too_few_negatives_support_no_high_tier() -> None:
    assert calibrate(scored(40))[1].high is None


def test_figures_lie_within_their_intervals_and_say_what_they_were_measured_on() -> None:
    films = scored()
    calibrator, thresholds = calibrate(films)
    domain = Domain(np.zeros(3, np.float32), np.eye(3, dtype=np.float32), 2.0)
    metrics = [
        *discrimination("pneumonia", films, {"look": films.logits * 0.0 + 1.0}),
        *operation("pneumonia", films, calibrator, thresholds),
        *outside(
            "pneumonia", domain, {"films": films.embeddings, "far": films.embeddings + 9}, films.patients
        ),
    ]
    assert all(
        metric.low <= metric.value <= metric.high for metric in metrics if metric.name != "calibration-error"
    )
    value = {(metric.name, metric.on): metric.value for metric in metrics}
    assert value["auc", "held-out patients"] > 0.95
    assert value["auc", "held-out patients, look"] == 0.5
    assert value["outside-domain", "far"] == 1.0
    assert 0.0 < value["outside-domain", "films"] < 0.5
    assert value["sensitivity", "held-out patients"] == pytest.approx(0.95, abs=0.01)


def test_without_a_high_tier_there_are_no_figures_of_one() -> None:
    films = scored()
    metrics = operation("pneumonia", films, Calibrator(), Thresholds(operating=0.5))
    assert not [metric for metric in metrics if metric.name.startswith("high")]


@pytest.mark.parametrize("high", [None, 0.62])
def test_the_card_states_every_figure_the_licence_and_the_limits(high: float | None) -> None:
    films = scored()
    manifest = Manifest(
        name="cxr",
        version="9.8",
        training_data="a" * 64,
        files={"model.onnx": "b" * 64},
        preprocessing=PreprocessingSpec(),
        calibration=Calibration(origin=Origin.FACTORY, by="factory", positives=1, negatives=1),
        findings=(
            FindingEntry(
                name="pneumonia",
                code_value="233604007",
                code_scheme="SCT",
                code_meaning="Pneumonia",
                calibrator=Calibrator(0.81, -1.2),
                thresholds=Thresholds(operating=0.2, high=high),
            ),
        ),
        metrics=tuple(discrimination("pneumonia", films, {})),
    )
    card = model_card(manifest, 5190, recipe_seed=7)
    auc = manifest.metrics[0]
    told = (
        "CC BY 4.0",
        "10.17632/rscbjbr9sj",
        "Research use only",
        "1 to 5 years",
        "5190 films",
        "--seed 7",
        "233604007",
    )
    for text in (
        *told,
        f"{auc.value:.3f} | {auc.low:.3f} to {auc.high:.3f}",
        "none" if high is None else "0.620",
    ):
        assert text in card
