"""Which model is for which image, and from images to a study."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orthanc_al.domain import ImageScore, Instance, Study, StudyState, Tier
from orthanc_al.ledger.instances import KnownInstance, images_of
from orthanc_al.score.aggregate import aggregate
from orthanc_al.score.match import ModelUse, no_match, reason_for_none
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
    assert no_match(ModelUse("m", ("CR", "DX"), ("CHEST",)), modality, body_part) == reason


def test_a_model_without_body_parts_is_for_all():
    assert no_match(ModelUse("m", ("DX",)), "DX", "HAND") is None


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
