"""What leaves of a study, when, and that it leaves once."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import (
    Comprehensive3DSRStorage,
    DigitalXRayImageStorageForProcessing,
    KeyObjectSelectionDocumentStorage,
)

from orthanc_al.domain import ReadValue, Tier
from orthanc_al.ledger import Ledger, batches, instances
from orthanc_al.ledger.effects import write_each
from orthanc_al.pipeline import Step
from tests.support.radiographs import wrap
from tests.support.reading_room import REGION, SCORED_AT, ReadingRoom
from tests.support.tiny_package import tiny_package
from tests.support.verified_sr import verified_sr

PIXELS = np.full((96, 80), 100, np.uint8)


@pytest.fixture
def room(ledger: Ledger, tmp_path: Path) -> ReadingRoom:
    return ReadingRoom(ledger, tmp_path)


def _study(room: ReadingRoom, images: int = 1, **score: object) -> str:
    for number in range(images):
        dataset = wrap(PIXELS, 1, image=number + 1)
        room.take_in(dataset)
    uid = str(dataset.StudyInstanceUID)
    room.score(uid, **score)  # type: ignore[arg-type]
    return uid


def test_an_unasked_study_gets_an_sr_and_nothing_else(room: ReadingRoom) -> None:
    uid = _study(room)
    room.select(uid)
    assert room.report(uid).name == "reported"
    [report] = room.sent()
    assert report.SOPClassUID == Comprehensive3DSRStorage
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "PARTIAL",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert report.StudyInstanceUID == uid
    assert report.Manufacturer == "orthanc_al"


def test_a_study_that_is_asked_about_gets_a_key_object_selection_too(room: ReadingRoom) -> None:
    uid = _study(room)
    room.select(uid, "asked")
    assert room.report(uid).name == "reported"
    classes = [one.SOPClassUID for one in room.sent()]
    assert classes == [Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage]
    title = room.sent()[1].ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("128201", "DCM")


def test_nothing_leaves_of_a_blind_study_until_its_read_is_signed(room: ReadingRoom) -> None:
    image = wrap(PIXELS, 1)
    room.take_in(image)
    uid = str(image.StudyInstanceUID)
    room.score(uid)
    room.select(uid, "blind")
    assert room.report(uid).name == "silent"
    assert room.sent() == []
    assert list(room.spool.ids()) != []

    outcome = room.read(verified_sr([image], ReadValue.ABSENT))
    assert outcome.name == "unblinded"
    assert outcome.subjects == {Step.REPORT: uid, Step.MIRROR: uid}
    assert room.report(uid).name == "reported"
    [report] = room.sent()
    assert report.SOPClassUID == Comprehensive3DSRStorage


def test_nothing_leaves_before_the_step_select(room: ReadingRoom) -> None:
    uid = _study(room)
    assert room.report(uid).name == "silent"
    assert room.sent() == []


def test_a_study_that_nobody_knows_is_silent(room: ReadingRoom) -> None:
    assert room.report("1.2.3").name == "silent"


def test_running_twice_makes_one_object(room: ReadingRoom) -> None:
    uid = _study(room)
    room.select(uid)
    first = room.report_stage.run(room.job(Step.REPORT, uid))
    files = {key: _data_set(room, key) for key in room.spool.ids()}
    second = room.report_stage.run(room.job(Step.REPORT, uid))
    room.finish(Step.REPORT, first)
    room.finish(Step.REPORT, second)
    assert room.report(uid).name == "reported"
    assert len(room.sent()) == 1
    assert files == {key: _data_set(room, key) for key in room.spool.ids()}


def test_the_same_inputs_give_the_same_bytes(ledger: Ledger, tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        room = ReadingRoom(Ledger.create(f"sqlite:///{tmp_path}/{name}.sqlite"), tmp_path / name)
        uid = _study(room, images=2)
        room.select(uid, "asked")
        room.report(uid)
        made.append([_data_set(room, key) for key in sorted(_own(room))])
        room.ledger.close()
    assert made[0] == made[1]
    assert len(made[0]) == 2


def test_reports_of_several_studies_are_written_at_once_and_those_that_take_long_are_left(
    room: ReadingRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = []
    for number in range(3):
        room.take_in(wrap(PIXELS, number))
        uids.append(str(wrap(PIXELS, number).StudyInstanceUID))
        room.score(uids[-1])
        room.select(uids[-1])
    jobs = [room.job(Step.REPORT, uid) for uid in uids]
    monkeypatch.setattr(batches, "LONG", -1.0)
    assert len(list(room.report_stage.run_all(jobs))) == 1
    monkeypatch.setattr(batches, "LONG", 60.0)
    outcomes = list(room.report_stage.run_all(jobs))
    with room.ledger.write() as connection:
        for _ in range(2):  # a batch may be written again, after it was undone
            assert write_each(connection, [outcome.write for outcome in outcomes]) == [None] * 3
    assert [report.StudyInstanceUID for report in room.sent()] == uids


def _data_set(room: ReadingRoom, instance_id: str) -> bytes:
    with room.spool.open(instance_id) as file:
        return file.data_set.tobytes()


def _own(room: ReadingRoom) -> list[str]:
    return [key for key in room.spool.ids() if room.spool.describe(key)[1].kind == "own"]


def test_with_sr_for_reviews_only_an_unasked_study_is_silent(ledger: Ledger, tmp_path: Path) -> None:
    room = ReadingRoom(ledger, tmp_path, sr="review")
    uid = _study(room)
    room.select(uid)
    assert room.report(uid).name == "silent"
    room.select(uid, "asked")
    assert room.report(uid).name == "reported"
    assert len(room.sent()) == 2


def test_without_a_peer_for_results_nothing_is_made(ledger: Ledger, tmp_path: Path) -> None:
    room = ReadingRoom(ledger, tmp_path, peers=())
    uid = _study(room)
    room.select(uid)
    assert room.report(uid).name == "silent"
    assert _own(room) == []


def test_a_late_image_supersedes_the_report_and_names_its_predecessor(room: ReadingRoom) -> None:
    uid = _study(room)
    room.select(uid)
    room.report(uid)
    room.take_in(wrap(PIXELS, 1, image=2))
    assert room.report(uid).name == "superseded"
    room.score(uid, at=SCORED_AT + 60)
    room.select(uid)
    assert room.report(uid).name == "reported"
    first, second = room.sent()
    assert second.SOPInstanceUID != first.SOPInstanceUID
    assert second.SeriesInstanceUID == first.SeriesInstanceUID
    reference = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert reference.SeriesInstanceUID == first.SeriesInstanceUID
    assert reference.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert "PredecessorDocumentsSequence" not in first


def test_a_new_version_of_the_model_names_the_report_of_the_old_one(
    room: ReadingRoom, tmp_path: Path
) -> None:
    uid = _study(room)
    room.select(uid)
    room.report(uid)
    newer = tiny_package(tmp_path / "newer", version="2", seed=1)
    room.install(newer)
    room.score(uid, package=newer, at=SCORED_AT + 60)
    assert room.report(uid).name == "reported"
    first, second = room.sent()
    reference = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == first.SOPInstanceUID


def test_images_that_left_the_spool_leave_the_study_without_a_report(room: ReadingRoom) -> None:
    uid = _study(room)
    room.select(uid)
    with room.ledger.write() as connection:
        instances.set_cleaned(connection, list(room.spool.ids()))
    assert room.report(uid).name == "silent"


@pytest.mark.parametrize(
    ("tier", "presence"), [(Tier.HIGH, "52101004"), (Tier.REVIEW, "373068000"), (Tier.LOW, "272519000")]
)
def test_the_tier_is_told_as_presence(room: ReadingRoom, tier: Tier, presence: str) -> None:
    uid = _study(room, tier=tier)
    room.select(uid, tier=tier)
    room.report(uid)
    [report] = room.sent()
    [group] = report.ContentSequence[-1].ContentSequence
    values = {
        item.ConceptNameCodeSequence[0].CodeValue: item.ConceptCodeSequence[0].CodeValue
        for item in group.ContentSequence
        if item.ValueType == "CODE"
    }
    assert values["705057003"] == presence
    assert values["121071"] == "233604007"
    assert values["AL-REVIEW"] == "373067005"


def test_each_scored_image_has_a_group_with_coordinates_and_a_number(room: ReadingRoom) -> None:
    uid = _study(room, images=3)
    room.select(uid)
    room.report(uid)
    [report] = room.sent()
    groups = report.ContentSequence[-1].ContentSequence
    assert len(groups) == 3
    for group in groups:
        [number] = [
            item
            for item in group.ContentSequence
            if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "122157"
        ]
        [rectangle] = number.ContentSequence
        assert rectangle.GraphicType == "POLYLINE"
        assert list(rectangle.GraphicData)[:4] == [REGION.left, REGION.top, REGION.right, REGION.top]


def test_without_a_region_a_point_stands_in_the_middle_of_the_image(room: ReadingRoom) -> None:
    uid = _study(room, region=None)
    room.select(uid)
    room.report(uid)
    [report] = room.sent()
    [group] = report.ContentSequence[-1].ContentSequence
    [point] = [item for item in group.ContentSequence if item.ValueType == "SCOORD"]
    assert (point.GraphicType, list(point.GraphicData)) == ("POINT", [40.0, 48.0])


def test_the_report_is_on_the_images_that_the_score_is_of(room: ReadingRoom) -> None:
    shown, raw = wrap(PIXELS, 1, modality="DX"), wrap(PIXELS, 1, image=2, modality="DX")
    raw.SOPClassUID = raw.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForProcessing
    for image in (shown, raw):
        room.take_in(image)
    uid = str(shown.StudyInstanceUID)
    room.score(uid)
    room.select(uid)
    room.report(uid)
    [report] = room.sent()
    assert shown.SOPInstanceUID in str(report)
    assert raw.SOPInstanceUID not in str(report)
