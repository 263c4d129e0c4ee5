"""The step sign: a read given by page or API leaves once, as a verified report that others can count."""

import copy
import subprocess
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydicom.uid import Comprehensive3DSRStorage

from orthanc_al.domain import Finding, ReadSource, ReadValue
from orthanc_al.errors import ReadError
from orthanc_al.ledger import Ledger, instances, statements
from orthanc_al.ledger.statements import Statement
from orthanc_al.pipeline import Step
from orthanc_al.report import SignStage
from orthanc_al.review.parse import parse
from orthanc_al.review.vocabulary import Vocabulary, known_findings
from tests.support.radiographs import wrap
from tests.support.reading_room import NOON, ORIGIN, ReadingRoom, reads_of
from tests.support.verified_sr import PNEUMONIA

PIXELS = np.full((96, 80), 100, np.uint8)


@pytest.fixture
def room(ledger: Ledger, tmp_path: Path) -> ReadingRoom:
    return ReadingRoom(ledger, tmp_path)


def _stage(room: ReadingRoom, peers: tuple[str, ...] = ("pacs",), **values: object) -> SignStage:
    defaults = {
        "ae_title": "ORTHANC_AL",
        "peers": peers,
        "organization": "Example Hospital",
        "timezone": ZoneInfo("Europe/Zurich"),
        "software_version": "0.1.0",
        "findings": known_findings,
    }
    return SignStage(room.ledger, room.spool, **(defaults | values))  # type: ignore[arg-type]


def _study(room: ReadingRoom, images: int = 1) -> str:
    for number in range(images):
        dataset = wrap(PIXELS, 1, image=number + 1)
        room.take_in(dataset)
    uid = str(dataset.StudyInstanceUID)
    room.score(uid)
    return uid


def _say(room: ReadingRoom, uid: str, value: ReadValue, at: float = NOON, **more: object) -> str:
    values: dict[str, object] = {
        "study_instance_uid": uid,
        "finding": "pneumonia",
        "value": value,
        "revision": 1,
        "reader": "Brandt^Karin",
        "identified_by": "asked",
    }
    with room.ledger.write() as connection:
        return statements.confirm(connection, Statement(**(values | more)), at).reference  # type: ignore[arg-type]


def _sign(room: ReadingRoom, reference: str, **values: object) -> str:
    outcome = _stage(room, **values).run(room.job(Step.SIGN, reference))  # type: ignore[arg-type]
    return room.finish(Step.SIGN, outcome).name


def test_a_read_leaves_as_a_verified_report_with_the_models_as_its_predecessor(room: ReadingRoom) -> None:
    uid = _study(room)
    room.select(uid)
    room.report(uid)
    reference = _say(room, uid, ReadValue.PRESENT, comment="left lower lobe")
    assert _sign(room, reference) == "signed"
    ai, report = room.sent()
    assert report.SOPInstanceUID == reference
    assert report.SOPClassUID == Comprehensive3DSRStorage
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "VERIFIED",
        "FINAL",
    )
    verifier = report.VerifyingObserverSequence[0]
    assert verifier.VerifyingObserverName == "Brandt^Karin"
    assert verifier.VerifyingOrganization == "Example Hospital"
    assert verifier.VerificationDateTime == "20260102130000+0100"
    [before] = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert before.SeriesInstanceUID == ai.SeriesInstanceUID
    assert before.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == ai.SOPInstanceUID
    assert report.SeriesInstanceUID != ai.SeriesInstanceUID
    assert "left lower lobe" in str(report)


def test_others_read_in_it_what_was_said(room: ReadingRoom) -> None:
    uid = _study(room, images=2)
    reference = _say(room, uid, ReadValue.ABSENT, revision=2)
    _sign(room, reference)
    [report] = room.sent()
    foreign = copy.deepcopy(report)
    foreign.Manufacturer = "Another gateway"
    found = parse(foreign, Vocabulary.of([Finding("pneumonia", PNEUMONIA)]), _stage(room)._timezone)
    assert found.source is ReadSource.VERIFIED_SR
    assert found.statements == {"pneumonia": ReadValue.ABSENT}
    assert (found.reader, found.read_at) == ("Brandt^Karin", NOON)
    with room.ledger.read() as connection:
        images = {one.instance.sop_instance_uid for one in instances.of_study(connection, uid)}
    assert images & found.images == {f for f in found.images if f in images}
    assert len(found.images) == 2


def test_a_read_without_a_shown_result_has_no_predecessor(room: ReadingRoom) -> None:
    uid = _study(room)
    room.select(uid, "blind")
    _sign(room, _say(room, uid, ReadValue.PRESENT))
    [report] = room.sent()
    assert "PredecessorDocumentsSequence" not in report


def test_a_second_word_names_the_first_as_its_predecessor(room: ReadingRoom) -> None:
    uid = _study(room)
    first = _say(room, uid, ReadValue.PRESENT)
    second = _say(room, uid, ReadValue.ABSENT, at=NOON + 60)
    assert _sign(room, second) == "signed"  # though the first one is not made yet
    [report] = room.sent()
    [before] = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert before.ReferencedSOPInstanceUID == first


def test_running_twice_makes_one_object_and_the_same_bytes(room: ReadingRoom) -> None:
    uid = _study(room)
    reference = _say(room, uid, ReadValue.PRESENT)
    files = []
    for _ in range(2):
        assert _sign(room, reference) == "signed"
        [report] = room.sent()
        files.append(room.spool.path(_instance_of(room, reference)).read_bytes())
    assert report.SOPInstanceUID == reference
    assert files[0][-2000:] == files[1][-2000:]


def _instance_of(room: ReadingRoom, sop_instance_uid: str) -> str:
    with room.ledger.read() as connection:
        [known] = instances.of_sop(connection, sop_instance_uid)
    return known.instance.id


def test_it_is_no_second_read_when_the_pacs_sends_it_back(room: ReadingRoom) -> None:
    uid = _study(room)
    reference = _say(room, uid, ReadValue.PRESENT)
    _sign(room, reference)
    [report] = room.sent()
    room.take_in(report)
    with room.ledger.read() as connection:
        came = instances.of_sop(connection, reference)
        assert [(one.kind, one.origin) for one in came] == [("own", "own"), ("own", ORIGIN.kind)]
        assert len(reads_of(connection, uid)) == 1


def test_images_that_left_the_spool_are_still_the_evidence(room: ReadingRoom) -> None:
    uid = _study(room)
    with room.ledger.read() as connection:
        [image] = [one for one in instances.of_study(connection, uid) if one.kind == "image"]
    room.spool.remove(image.instance.id)
    assert _sign(room, _say(room, uid, ReadValue.PRESENT)) == "signed"
    [report] = room.sent()
    assert str(image.instance.sop_instance_uid) in str(report.CurrentRequestedProcedureEvidenceSequence)
    assert report.PatientID


@pytest.mark.parametrize("how", ["nobody gets results", "unknown read"])
def test_it_is_silent_where_there_is_nothing_to_send(room: ReadingRoom, how: str) -> None:
    uid = _study(room)
    reference = _say(room, uid, ReadValue.PRESENT) if how.startswith("nobody") else "2.25.404"
    assert _sign(room, reference, peers=() if how.startswith("nobody") else ("pacs",)) == "silent"
    assert room.sent() == []


def test_a_finding_that_no_model_knows_any_more_is_told(room: ReadingRoom) -> None:
    uid = _study(room)
    reference = _say(room, uid, ReadValue.PRESENT)
    with pytest.raises(ReadError, match="can't be coded"):
        _stage(room, findings=lambda _: []).run(room.job(Step.SIGN, reference))


@pytest.mark.needs_dicom3tools
@pytest.mark.parametrize("comment", ["", "Ergüsse beidseits"])
def test_the_report_has_no_fault(room: ReadingRoom, tmp_path: Path, comment: str) -> None:
    uid = _study(room, images=2)
    room.select(uid)
    room.report(uid)
    _sign(room, _say(room, uid, ReadValue.UNDETERMINED, revision=2, comment=comment))
    path = tmp_path / "read.dcm"
    room.sent()[-1].save_as(path, enforce_file_format=True)
    told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False, timeout=60)
    lines = (told.stdout + told.stderr).splitlines()
    assert lines
    assert [line for line in lines if line.startswith(("Error", "Warning"))] == []
