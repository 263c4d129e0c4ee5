"""Which reports are reads of which study, and what a read does."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from orthanc_al.domain import ConfirmedRead, ReadSource, ReadValue, StudyState
from orthanc_al.domain.precedence import ReadState
from orthanc_al.ledger import Ledger, reads, selections, studies, trail
from orthanc_al.pipeline import Step
from orthanc_al.review.vocabulary import _findings
from tests.support.radiographs import wrap
from tests.support.reading_room import SCORED_AT, ReadingRoom, TakenRead, reads_of
from tests.support.verified_sr import NOON, verified_sr

PIXELS = np.full((16, 16), 100, np.uint8)
IMAGE = wrap(PIXELS, 1)
UID = str(IMAGE.StudyInstanceUID)


@pytest.fixture
def room(ledger: Ledger, tmp_path: Path) -> ReadingRoom:
    made = ReadingRoom(ledger, tmp_path)
    made.take_in(IMAGE)
    made.score(UID)
    return made


def _reads(room: ReadingRoom, uid: str = UID) -> list[TakenRead]:
    with room.ledger.read() as connection:
        return reads_of(connection, uid)


def _state(room: ReadingRoom, uid: str = UID) -> StudyState:
    with room.ledger.read() as connection:
        study = studies.get(connection, uid)
        assert study is not None
        return study.state


def _reasons(room: ReadingRoom) -> list[str]:
    with room.ledger.read() as connection:
        return [
            line["detail"]["reason"]
            for line in trail.recent(connection)
            if line["action"] == "report_not_a_read"
        ]


def test_a_signed_report_counts_and_takes_the_study_off_the_worklist(room: ReadingRoom) -> None:
    room.select(UID)
    report = verified_sr([IMAGE], "present")
    assert room.read(report).name == "read"
    [read] = _reads(room)
    assert (read.state, read.value, read.reader) == (
        ReadState.COUNTS,
        ReadValue.PRESENT,
        "Reader^Rosa",
    )
    assert read.reference == report.SOPInstanceUID
    assert _state(room) is StudyState.READ


def test_the_same_report_twice_is_one_read(room: ReadingRoom) -> None:
    room.select(UID)
    instance = room.take_in(verified_sr([IMAGE], "present"))
    room.review(instance)
    room.review(instance)
    assert len(_reads(room)) == 1


def test_a_read_of_a_shown_result_says_so_and_one_of_a_blind_case_does_not(
    room: ReadingRoom, tmp_path: Path
) -> None:
    room.select(UID)
    room.read(verified_sr([IMAGE], "present"))
    assert [read.ai_shown for read in _reads(room)] == [True]
    other = wrap(PIXELS, 2)
    uid = str(other.StudyInstanceUID)
    room.take_in(other)
    room.score(uid)
    room.select(uid, "blind")
    assert room.read(verified_sr([other], "present")).name == "unblinded"
    assert [read.ai_shown for read in _reads(room, uid)] == [False]
    # ... and who reads it again afterwards has seen the result.
    assert room.read(verified_sr([other], "present", reader="Second^Sam", at=4e9)).name == "read"
    assert [read.ai_shown for read in _reads(room, uid)] == [False, True]


def test_a_read_from_before_the_result_was_shown_did_not_see_it(room: ReadingRoom) -> None:
    room.select(UID, at=SCORED_AT)
    room.read(verified_sr([IMAGE], "present", at=SCORED_AT - 60))
    assert [read.ai_shown for read in _reads(room)] == [False]


def test_the_read_of_a_blind_case_signs_its_draw_and_asks_for_its_report(room: ReadingRoom) -> None:
    room.select(UID, "blind")
    outcome = room.read(verified_sr([IMAGE], "absent"))
    assert (outcome.name, outcome.subjects[Step.REPORT]) == ("unblinded", UID)
    with room.ledger.read() as connection:
        assert selections.of_study(connection, UID)[selections.AUDIT].signed_at is not None


def test_two_readers_who_disagree_are_a_conflict(room: ReadingRoom) -> None:
    room.read(verified_sr([IMAGE], "present"))
    room.read(verified_sr([IMAGE], "absent", reader="Second^Sam"))
    assert [read.state for read in _reads(room)] == [ReadState.CONFLICT] * 2


def test_an_addendum_replaces_also_where_it_comes_first(room: ReadingRoom) -> None:
    first = verified_sr([IMAGE], "present")
    second = verified_sr([IMAGE], "absent", reader="Second^Sam", predecessors=[first])
    room.read(second)
    room.read(first)
    assert [(read.value, read.state) for read in _reads(room)] == [
        (ReadValue.ABSENT, ReadState.COUNTS),
        (ReadValue.PRESENT, ReadState.SUPERSEDED),
    ]


def _viewer(at: float = NOON, reader: str = "unknown^unknown") -> object:
    report = verified_sr([IMAGE], "present", at=at, reader=reader)
    report.VerificationFlag = "UNVERIFIED"
    del report.VerifyingObserverSequence
    return report


def test_a_report_without_a_reader_waits_and_neither_counts_nor_signs(room: ReadingRoom) -> None:
    room.select(UID, "blind")
    assert room.read(_viewer()).name == "read"
    assert [read.state for read in _reads(room)] == [ReadState.WAITING]
    assert _state(room) is StudyState.SCORED
    assert room.report(UID).name == "silent"


def test_a_site_may_trust_reports_without_a_reader(ledger: Ledger, tmp_path: Path) -> None:
    room = ReadingRoom(ledger, tmp_path, trust_unnamed=True)
    room.take_in(IMAGE)
    room.read(_viewer())
    assert [read.state for read in _reads(room)] == [ReadState.COUNTS]


def test_a_viewers_report_older_than_ours_is_no_answer_to_it(room: ReadingRoom) -> None:
    room.select(UID)
    room.report(UID)
    assert room.read(_viewer(at=SCORED_AT - 1, reader="Reader^Rosa")).name == "not_a_read"
    assert _reasons(room) == ["older than the report that it would be an answer to"]
    assert room.read(_viewer(at=SCORED_AT + 1, reader="Reader^Rosa")).name == "read"


def test_our_own_report_that_comes_back_is_never_a_read(room: ReadingRoom) -> None:
    room.select(UID, "asked")
    room.report(UID)
    for own in room.sent():
        assert room.read(own).name == "not_a_read"
        own.CompletionFlag, own.SOPInstanceUID = "COMPLETE", own.SOPInstanceUID[:-2] + "99"
        own.file_meta.MediaStorageSOPInstanceUID = own.SOPInstanceUID
        assert room.read(own).name == "not_a_read"
    assert _reads(room) == []
    assert set(_reasons(room)) == {"made by orthanc_al itself"}


def test_a_report_on_images_that_nobody_knows_is_no_read(room: ReadingRoom) -> None:
    assert room.read(verified_sr([wrap(PIXELS, 7)], "present")).name == "not_a_read"
    assert "no image that is known" in _reasons(room)[0]


def test_a_report_in_another_study_belongs_to_the_study_of_its_images(room: ReadingRoom) -> None:
    report = verified_sr([IMAGE], "present")
    report.StudyInstanceUID = "2.25.4711"
    assert room.read(report).name == "read"
    assert len(_reads(room)) == 1


def test_a_report_on_images_of_two_studies_is_not_guessed_at(room: ReadingRoom) -> None:
    other = wrap(PIXELS, 2)
    room.take_in(other)
    report = verified_sr([IMAGE, other], "present")
    report.StudyInstanceUID = "2.25.4711"
    assert room.read(report).name == "not_a_read"


def test_a_report_whose_content_can_not_be_parsed_is_no_read(room: ReadingRoom) -> None:
    report = verified_sr([IMAGE], "present")
    report.add_new("CompletionFlag", "OB", b"COMPLETE")
    report.add_new("ContentSequence", "OB", b"no sequence")
    assert room.read(report).name == "not_a_read"


def test_a_report_that_is_cut_off_or_gone_is_no_read_and_stops_nothing(room: ReadingRoom) -> None:
    instance = room.take_in(verified_sr([IMAGE], "present"))
    path = room.spool.path(instance)
    whole = path.read_bytes()
    for length in range(400, len(whole), 131):
        path.write_bytes(whole[:length])
        assert room.review(instance).name in ("read", "not_a_read")
    room.spool.remove(instance)
    assert room.review(instance).name == "not_a_read"


def test_a_report_about_another_patient_is_no_read_and_spoils_nothing(room: ReadingRoom) -> None:
    misfiled = verified_sr([IMAGE], "present", reader="Second^Sam")
    misfiled.PatientID = "SOMEBODY ELSE"
    assert room.read(misfiled).name == "not_a_read"
    assert _reasons(room) == ["names another patient than the images that it refers to"]
    assert room.read(verified_sr([IMAGE], "present")).name == "read"


def test_a_report_on_images_of_two_patients_is_no_read(room: ReadingRoom) -> None:
    stranger = wrap(PIXELS, 1, image=2)
    stranger.PatientID = "SOMEBODY ELSE"
    room.take_in(stranger)
    assert room.read(verified_sr([IMAGE], "present")).name == "not_a_read"


def test_a_report_without_the_issuer_of_the_patient_s_id_is_about_the_same_patient(
    room: ReadingRoom,
) -> None:
    image = wrap(PIXELS, 2)
    image.IssuerOfPatientID = "HOSPITAL"
    room.take_in(image)
    report = verified_sr([image], "present")
    report.pop("IssuerOfPatientID", None)
    assert room.read(report).name == "read"
    with room.ledger.read() as connection:
        study = studies.get(connection, str(image.StudyInstanceUID))
    assert study is not None
    assert study.reason is None


def test_a_report_under_the_uid_of_one_on_another_study_is_no_read(room: ReadingRoom) -> None:
    other = wrap(PIXELS, 2)
    room.take_in(other)
    first, second = verified_sr([IMAGE], "present"), verified_sr([other], "present")
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    assert [room.read(first).name, room.read(second).name] == ["read", "not_a_read"]
    assert _reads(room, str(other.StudyInstanceUID)) == []


def test_a_clock_that_is_ahead_does_not_make_a_read_the_last_word(room: ReadingRoom) -> None:
    room.read(verified_sr([IMAGE], "present", at=4e9))
    room.read(verified_sr([IMAGE], "absent", at=NOON + 1e9, number=2))  # ahead as well, and signed later
    assert [(read.value, read.state) for read in _reads(room)] == [
        (ReadValue.PRESENT, ReadState.SUPERSEDED),
        (ReadValue.ABSENT, ReadState.COUNTS),
    ]


def test_all_that_the_read_of_a_blind_case_says_was_said_blind(room: ReadingRoom) -> None:
    room.select(UID, "blind")
    at = SCORED_AT + 60
    with room.ledger.write() as connection:
        for finding in ("pneumonia", "effusion"):  # of one report, signed as it was received
            read = ConfirmedRead(
                UID, finding, ReadValue.PRESENT, ReadSource.VERIFIED_SR, "Reader^Rosa", at, "2.25.1"
            )
            reads.record(connection, read, received_at=at, actor="test")
    assert [read.ai_shown for read in _reads(room)] == [False, False]


def test_a_file_that_the_ledger_does_not_know_is_no_read(room: ReadingRoom) -> None:
    instance = room.take_in(verified_sr([IMAGE], "present"))
    target = room.spool.path("ab" * 16)
    target.write_bytes(room.spool.path(instance).read_bytes())
    assert room.review("ab" * 16).name == "not_a_read"


def test_a_package_whose_folder_is_gone_leaves_its_findings_out(room: ReadingRoom) -> None:
    shutil.rmtree(room.package.folder)
    _findings.cache_clear()
    assert room.read(verified_sr([IMAGE], "present")).name == "not_a_read"
    assert "no coded Presence" in _reasons(room)[0]


def test_every_read_leaves_a_line_in_the_audit_trail_without_the_readers_name(room: ReadingRoom) -> None:
    room.read(verified_sr([IMAGE], "present"))
    with room.ledger.read() as connection:
        [line] = [line for line in trail.recent(connection) if line["action"] == "read_recorded"]
    assert line["subject"] == UID
    assert "Rosa" not in str(line)


def test_a_reader_whose_name_ends_in_delimiters_is_the_same_reader(room: ReadingRoom) -> None:
    room.read(verified_sr([IMAGE], "present", at=NOON))
    later = verified_sr([IMAGE], "absent", at=NOON + 60)
    later.VerifyingObserverSequence[0].VerifyingObserverName = "Reader^Rosa^^^"
    room.read(later)
    assert [read.state for read in _reads(room)] == [ReadState.SUPERSEDED, ReadState.COUNTS]


# --- a PACS that gave the images other UIDs ---------------------------------------------------------------


def _coerced(report: object, **more: object) -> object:
    """The report as it comes back from a PACS under whose UIDs nothing is known here."""
    report.StudyInstanceUID = "1.2.3.99"
    for item in report.CurrentRequestedProcedureEvidenceSequence:
        item.StudyInstanceUID = "1.2.3.99"
    for element in report.iterall():
        if element.keyword == "ReferencedSOPInstanceUID":
            element.value = "1.2.3.99.1"
    for keyword, value in more.items():
        setattr(report, keyword, value)
    return report


def _originally(uid: str) -> Dataset:
    before, change = Dataset(), Dataset()
    before.StudyInstanceUID = uid
    change.ModifiedAttributesSequence = [before]
    return change


def test_a_report_under_other_uids_is_found_by_accession_number_and_patient(room: ReadingRoom) -> None:
    assert room.read(_coerced(verified_sr([IMAGE], "present"))).name == "read"
    assert len(_reads(room)) == 1


def test_a_report_under_other_uids_is_found_by_its_original_attributes(room: ReadingRoom) -> None:
    report = _coerced(verified_sr([IMAGE], "present"), AccessionNumber="")
    report.OriginalAttributesSequence = [_originally(UID)]
    assert room.read(report).name == "read"
    assert len(_reads(room)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"PatientID": ""},
        {"PatientID": "somebody else"},
        {"AccessionNumber": ""},
        {"AccessionNumber": "of no study"},
        {"AccessionNumber": "", "OriginalAttributesSequence": [_originally("1.2.3.5")]},
    ],
)
def test_what_leads_to_no_study_for_sure_is_no_read(room: ReadingRoom, wrong: dict) -> None:
    assert room.read(_coerced(verified_sr([IMAGE], "present"), **wrong)).name == "not_a_read"
    assert _reads(room) == []


def test_an_accession_number_of_two_studies_leads_to_neither(room: ReadingRoom) -> None:
    other = wrap(PIXELS, 2)
    other.AccessionNumber, other.PatientID = IMAGE.AccessionNumber, IMAGE.PatientID
    room.take_in(other)
    assert room.read(_coerced(verified_sr([IMAGE], "present"))).name == "not_a_read"
