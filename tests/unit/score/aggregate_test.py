"""Which model is for which image, and from images to a study."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orthanc_al.domain import ImageScore, Instance, Study, StudyState, Tier
from orthanc_al.domain.criteria import Criteria, Traits
from orthanc_al.errors import PackageRefusedError
from orthanc_al.ledger.instances import KnownInstance, images_of
from orthanc_al.methods.attention import Attention
from orthanc_al.score.aggregate import aggregate
from orthanc_al.score.match import ModelUse, is_eager, no_match, no_study_match, reason_for_none
from tests.support.tiny_package import CHANNELS, tiny_package

DX = "1.2.840.10008.5.1.4.1.1.1.1"
STUDY = Study("1.2", "p", "DX", StudyState.COMPLETE, 3, 0.0, 0.0, 0)


def _known(number: int, sop_class: str = DX, kind: str = "image", reason: str | None = None) -> KnownInstance:
    instance = Instance(f"{number:032x}", sop_class, f"1.2.{number}", "1.2.840.10008.1.2.1", 10, 0.0)
    return KnownInstance(instance, "dicom", "pacs", None, kind, reason, spooled=True)


@pytest.mark.parametrize(
    ("modality", "body_part", "reason"),
    [
        ("DX", "CHEST", None),
        ("DX", "", None),
        ("DX", "HAND", "no model is configured for DX of HAND"),
        ("CT", "CHEST", "no model is configured for modality CT"),
        ("", "CHEST", "no model is configured for modality unknown"),
    ],
)
def test_a_model_is_for_its_modalities_and_body_parts(modality, body_part, reason):
    use = ModelUse("m", Criteria(("CR", "DX"), ("CHEST",)))
    assert no_match(use, None, Traits(modality, body_part)) == reason


def test_a_model_without_body_parts_is_for_all():
    assert no_match(ModelUse("m", Criteria(("DX",))), None, Traits("DX", "HAND")) is None


def test_for_processing_images_count_only_where_there_is_nothing_to_present():
    raw, shown = _known(1, f"{DX}.1"), _known(2)
    assert images_of([raw, shown, _known(3, kind="report")]) == [shown]
    assert images_of([raw]) == [raw]


@pytest.mark.parametrize(
    ("known", "reasons", "reason"),
    [
        ([], [], "no image to score"),
        ([_known(1, kind="unusable", reason="colour image (RGB)")], [], "colour image (RGB)"),
        ([_known(1, kind="unusable", reason="late")], ["first", "second"], "first"),
        ([_known(1, kind="other", reason="a localizer")], [], "no image to score"),
    ],
)
def test_the_first_thing_in_the_way_is_the_reason(known, reasons, reason):
    assert reason_for_none(known, reasons) == reason


def _score(instance: str, frame: int, *logits: float) -> ImageScore:
    embedding = np.full(CHANNELS, logits[0], np.float32)
    return ImageScore(instance, frame, np.array(logits, np.float32), embedding, (None,) * len(logits))


def test_each_finding_is_decided_by_its_own_image(tmp_path: Path):
    package = tiny_package(tmp_path / "package", findings=("pneumonia", "effusion"))
    scores = [_score("b", 1, -1.0, 2.0), _score("a", 2, 3.0, -2.0), _score("a", 1, 0.0, 0.0)]
    first, second = aggregate(STUDY, scores, package, 7.0)
    assert (first.prediction.finding, first.instance_id, first.frame) == ("pneumonia", "a", 2)
    assert (second.prediction.finding, second.instance_id, second.frame) == ("effusion", "b", 1)
    assert first.prediction.probability == pytest.approx(1 / (1 + np.exp(-3.0)))
    assert (first.images, first.scored_at, first.prediction.revision) == (3, 7.0, 3)
    assert (first.prediction.tier, first.prediction.std, first.prediction.ood) == (Tier.NONE, 0.0, 0.0)


def test_ties_are_decided_the_same_way_in_any_order(tmp_path: Path):
    package = tiny_package(tmp_path / "package")
    scores = [_score(name, 1, 1.0) for name in "cab"]
    deciders = {aggregate(STUDY, order, package, 0.0)[0].instance_id for order in (scores, scores[::-1])}
    assert deciders == {"a"}


def test_deviation_and_distance_are_the_deciding_image_s(tmp_path: Path):
    package = tiny_package(tmp_path / "package", limit=2.0)
    covariance = np.eye(CHANNELS + 1, dtype=np.float32)[np.newaxis]
    package = replace(package, contents=replace(package.contents, covariance=covariance))
    (made,) = aggregate(STUDY, [_score("a", 1, 3.0), _score("b", 1, 1.0)], package, 0.0)
    assert made.prediction.ood == pytest.approx(np.sqrt(CHANNELS * 9) / 2)
    assert made.prediction.std == pytest.approx(np.sqrt(CHANNELS * 9 + 1))


# --- several images --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "logit", "decider"),
    [
        ({"aggregation": "max"}, 3.0, "b"),
        ({"aggregation": "mean"}, 1.0, "b"),
        ({"aggregation": "top-k-mean", "top_k": 2}, 2.0, "b"),
        ({"aggregation": "top-k-mean", "top_k": 9}, 1.0, "b"),
    ],
)
def test_a_study_is_what_the_manifest_makes_of_its_images(tmp_path: Path, keys, logit, decider):
    package = tiny_package(tmp_path / "package", limit=2.0, **keys)
    scores = [_score("a", 1, 1.0), _score("b", 1, 3.0), _score("c", 1, -1.0)]
    (made,) = aggregate(STUDY, scores, package, 0.0)
    assert made.prediction.logit == pytest.approx(logit)
    assert made.embedding == pytest.approx(np.full(CHANNELS, logit))  # the head is linear
    assert made.prediction.ood == pytest.approx(np.sqrt(CHANNELS) * logit / 2)
    assert (made.instance_id, made.images) == (decider, 3)


def test_attention_weighs_images_by_what_they_show(tmp_path: Path):
    attention = Attention(np.eye(CHANNELS, dtype=np.float32)[:1], np.array([-8.0], np.float32))
    package = tiny_package(tmp_path / "package", aggregation="attention", attention=attention)
    scores = [_score("a", 1, 2.0), _score("b", 1, -2.0)]
    (made,) = aggregate(STUDY, scores, package, 0.0)
    shares = attention.weights(np.stack([score.embedding for score in scores]))
    assert shares.sum() == pytest.approx(1)
    assert made.prediction.logit == pytest.approx(2 * shares[0] - 2 * shares[1])
    assert made.instance_id == "b"


def test_the_highest_series_is_the_study_s(tmp_path: Path):
    package = tiny_package(tmp_path / "package", aggregation="mean")
    scores = [_score("a", 1, 4.0), _score("b", 1, 0.0), _score("c", 1, 3.0), _score("d", 1, 2.0)]
    (made,) = aggregate(STUDY, scores, package, 0.0, {"a": "1", "b": "1", "c": "2", "d": "2"})
    assert (made.prediction.logit, made.instance_id) == (2.5, "c")


def test_a_package_says_what_it_was_made_for(tmp_path: Path):
    intended = {"modality": ("DX",), "view": ("AP", "PA"), "age": (18, 120), "images": (1, 2)}
    manifest = tiny_package(tmp_path / "package", intended=intended).manifest
    use = ModelUse("m", Criteria(("CR", "DX"), station=("ROOM1",)))
    here = {"station": "ROOM1", "age": 40.0}
    assert no_match(use, manifest, Traits("DX", "CHEST", "AP", **here)) is None
    assert no_match(use, manifest, Traits("CR", **here)) == "the model m is not made for modality CR"
    said = [
        no_match(use, manifest, Traits("DX", **{**here, **changes}))
        for changes in ({"view": "LL"}, {"age": 3.0}, {"age": None}, {"station": "R2"}, {"station": ""})
    ]
    assert said == [
        "the model m is not made for DX in the view LL",
        "the model m is not made for a patient of 3 years",
        "the model m is not made for a patient of unknown age",
        "no model is configured for the station R2",
        "no model is configured for an image that names no station",
    ]
    assert no_study_match(use, manifest, 2) is None
    assert no_study_match(use, manifest, 3) == "the model m is not made for a study of 3 image(s)"
    assert "no model is configured for a study" in no_study_match(
        ModelUse("m", Criteria(images=(2, 9))), manifest, 1
    )


def test_a_procedure_is_asked_for_by_its_code():
    use = ModelUse("m", Criteria(("CT",), procedure=("24627-2",)))
    assert no_match(use, None, Traits("CT", procedures=("X", "24627-2"))) is None
    assert (
        no_match(use, None, Traits("CT", procedures=("X",))) == "no model is configured for the procedure X"
    )
    assert "names no procedure" in no_match(use, None, Traits("CT"))


def test_a_model_of_slices_takes_no_secondary_capture(tmp_path: Path):
    manifest = tiny_package(tmp_path / "package", series={"placed": True}).manifest
    use = ModelUse("m", Criteria(("CT",)))
    capture = "1.2.840.10008.5.1.4.1.1.7"
    for sop_class in (capture, f"{capture}.2"):
        assert "a secondary capture is no slice" in no_match(use, manifest, Traits("CT"), sop_class)
    assert no_match(use, manifest, Traits("CT"), "1.2.840.10008.5.1.4.1.1.77.1.1") is None
    assert is_eager("CT", manifest)


@pytest.mark.parametrize(
    "keys", [{"aggregation": "attention"}, {"attention": Attention(np.ones((2, 9)), np.ones(2))}]
)
def test_attention_has_to_fit(tmp_path: Path, keys):
    with pytest.raises(PackageRefusedError, match=r"attention\.npz"):
        tiny_package(tmp_path / "package", **({"aggregation": "attention"} | keys))
