"""What is a person's statement in a report, and what is not."""

import copy
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes

from orthanc_al.domain import Code, Finding, ReadSource, ReadValue
from orthanc_al.errors import ReadError
from orthanc_al.report.evidence import evidence
from orthanc_al.review.parse import ParsedRead, parse
from orthanc_al.review.vocabulary import Vocabulary
from tests.support.radiographs import wrap
from tests.support.verified_sr import NOON, PNEUMONIA, verified_sr

ZURICH = ZoneInfo("Europe/Zurich")
COMMENT = Code("121106", "DCM", "Comment")
EFFUSION = Code("60046008", "SCT", "Pleural effusion")
VOCABULARY = Vocabulary.of([Finding("pneumonia", PNEUMONIA), Finding("effusion", EFFUSION)])
IMAGE = wrap(np.zeros((8, 8), np.uint8), 1)


def _signed(images: list[Dataset], value: str, **more: Any) -> Dataset:
    """Return the report as it arrives: read from its bytes."""
    buffer = BytesIO()
    verified_sr(images, value, **more).save_as(buffer, enforce_file_format=True)
    return dcmread(BytesIO(buffer.getvalue()))


def _parse(report: Dataset) -> ParsedRead:
    return parse(report, VOCABULARY, ZURICH)


def _group(report: Dataset) -> Dataset:
    return report.ContentSequence[-1].ContentSequence[0]


def _code(name: Code, value: Code) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "CODE"
    item.ConceptNameCodeSequence = Items([_coded(name)])
    item.ConceptCodeSequence = Items([_coded(value)])
    return item


def _coded(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme, code.meaning
    return item


def _text(text: str, name: Code = COMMENT) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence = Items([_coded(name)])
    item.TextValue = text
    return item


def _without_presence(report: Dataset) -> Dataset:
    group = _group(report)
    group.ContentSequence = Items(
        [item for item in group.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue != "705057003"]
    )
    return report


def _unverified(report: Dataset) -> Dataset:
    report.VerificationFlag = "UNVERIFIED"
    del report.VerifyingObserverSequence
    return report


@pytest.mark.parametrize("value", list(ReadValue))
def test_a_verified_report_with_coded_presence_is_a_read_of_the_highest_rank(value: ReadValue) -> None:
    report = _signed([IMAGE], value)
    assert _parse(report) == ParsedRead(
        sop_instance_uid=report.SOPInstanceUID,
        study_instance_uid=IMAGE.StudyInstanceUID,
        source=ReadSource.VERIFIED_SR,
        statements={"pneumonia": value},
        reader="Reader^Rosa",
        read_at=NOON,
        images=frozenset({IMAGE.SOPInstanceUID}),
        supersedes=frozenset(),
        accession_number=IMAGE.AccessionNumber,
    )


def test_predecessors_are_superseded() -> None:
    first = _signed([IMAGE], "present")
    second = _signed([IMAGE], "absent", predecessors=[first], number=2)
    assert _parse(second).supersedes == {first.SOPInstanceUID}


def test_our_own_report_is_never_a_read_whatever_its_flags_say() -> None:
    report = _signed([IMAGE], "present")
    report.Manufacturer = "orthanc_al"
    with pytest.raises(ReadError, match="orthanc_al itself"):
        _parse(report)


@pytest.mark.parametrize("flag", ["PARTIAL", "", None])
def test_a_report_that_is_not_complete_is_no_read(flag: str | None) -> None:
    report = _signed([IMAGE], "present")
    report.CompletionFlag = flag
    with pytest.raises(ReadError, match="not complete"):
        _parse(report)


def test_a_device_is_no_reader_even_where_the_report_is_complete() -> None:
    report = _signed([IMAGE], "present")
    for item in report.ContentSequence:
        if item.ConceptNameCodeSequence[0].CodeValue == "121005":
            item.ConceptCodeSequence = Items([_coded(Code("121007", "DCM", "Device"))])
    with pytest.raises(ReadError, match="device"):
        _parse(report)


def test_what_a_device_observed_within_a_person_s_report_is_not_her_statement() -> None:
    report = _signed([IMAGE], "absent")
    devices = copy.deepcopy(_group(_signed([IMAGE], "present")))
    devices.ContentSequence.insert(
        0, _code(Code("121005", "DCM", "Observer Type"), Code("121007", "DCM", "Device"))
    )
    devices.ContentSequence.append(_text("pneumonia present"))
    report.ContentSequence[-1].ContentSequence.append(devices)
    assert _parse(report).statements == {"pneumonia": ReadValue.ABSENT}


def test_a_finding_alone_says_nothing() -> None:
    with pytest.raises(ReadError, match="no coded Presence"):
        _parse(_without_presence(_signed([IMAGE], "present")))


def test_a_report_without_content_says_nothing() -> None:
    report = _signed([IMAGE], "present")
    report.ContentSequence = Items([])
    with pytest.raises(ReadError, match="no coded Presence"):
        _parse(report)


def test_presence_of_a_finding_that_no_model_knows_says_nothing() -> None:
    with pytest.raises(ReadError, match="no coded Presence"):
        _parse(_signed([IMAGE], "present", finding=Code("36118008", "SCT", "Pneumothorax")))


def test_presence_beside_two_findings_is_not_guessed_at() -> None:
    report = _signed([IMAGE], "present")
    _group(report).ContentSequence.append(_code(Code("121071", "DCM", "Finding"), EFFUSION))
    with pytest.raises(ReadError):
        _parse(report)


def test_presence_below_its_finding_counts() -> None:
    report = _without_presence(_signed([IMAGE], "present"))
    finding = next(
        item
        for item in _group(report).ContentSequence
        if "ConceptCodeSequence" in item and item.ConceptNameCodeSequence[0].CodeValue == "121071"
    )
    finding.ContentSequence = Items(
        [_code(Code("705057003", "SCT", "Presence"), Code("272519000", "SCT", "Absent"))]
    )
    assert _parse(report).statements == {"pneumonia": ReadValue.ABSENT}


def test_presence_as_the_value_of_the_findings_own_question_counts() -> None:
    report = _without_presence(_signed([IMAGE], "present"))
    _group(report).ContentSequence.append(_code(EFFUSION, Code("52101004", "SCT", "Present")))
    assert _parse(report).statements == {"effusion": ReadValue.PRESENT}


@pytest.mark.parametrize(
    ("values", "together"),
    [
        (["absent", "present"], ReadValue.PRESENT),
        (["present", "undetermined"], ReadValue.PRESENT),
        (["absent", "undetermined"], ReadValue.UNDETERMINED),
    ],
)
def test_a_finding_in_one_image_is_one_of_the_study(values: list[str], together: ReadValue) -> None:
    first, second = (_signed([IMAGE], value) for value in values)
    first.ContentSequence[-1].ContentSequence.append(copy.deepcopy(_group(second)))
    assert _parse(first).statements == {"pneumonia": together}


def test_an_unverified_report_with_coded_presence_is_a_viewers() -> None:
    read = _parse(_unverified(_signed([IMAGE], "present")))
    assert (read.source, read.reader) == (ReadSource.VIEWER_SR, "Reader^Rosa")


def test_a_verified_flag_without_a_verifier_is_a_viewers() -> None:
    report = _signed([IMAGE], "present")
    report.VerifyingObserverSequence = Items([])
    assert _parse(report).source is ReadSource.VIEWER_SR


@pytest.mark.parametrize(
    ("text", "value"),
    [("Pneumonia present", ReadValue.PRESENT), ("  no   PNEUMONIA ", ReadValue.ABSENT)],
)
def test_a_viewers_label_counts_where_it_is_in_the_list_exactly(text: str, value: ReadValue) -> None:
    report = _without_presence(_unverified(_signed([IMAGE], "present")))
    _group(report).ContentSequence.append(_text(text))
    read = _parse(report)
    assert (read.source, read.statements) == (ReadSource.VIEWER_SR, {"pneumonia": value})


@pytest.mark.parametrize("text", ["Pneumonia", "pneumonia present?", "pneumonia is present", ""])
def test_any_other_text_says_nothing(text: str) -> None:
    report = _without_presence(_unverified(_signed([IMAGE], "present")))
    _group(report).ContentSequence.append(_text(text))
    with pytest.raises(ReadError):
        _parse(report)


def test_a_label_in_a_verified_report_ranks_as_a_viewers() -> None:
    report = _without_presence(_signed([IMAGE], "present"))
    _group(report).ContentSequence.append(_text("no pneumonia"))
    assert _parse(report).source is ReadSource.VIEWER_SR


def test_a_label_yields_to_a_code_in_the_same_report() -> None:
    report = _signed([IMAGE], "absent")
    _group(report).ContentSequence.append(_text("pneumonia present"))
    assert _parse(report).statements == {"pneumonia": ReadValue.ABSENT}


@pytest.mark.parametrize("name", ["unknown^unknown", "", "Unknown^Unknown^^^", "Anonymous^", "^^"])
def test_nobodys_name_is_nobody(name: str) -> None:
    report = _unverified(_signed([IMAGE], "present"))
    for item in report.ContentSequence:
        if "PersonName" in item:
            item.PersonName = name
    assert _parse(report).reader == ""


def _kos(description: str) -> Dataset:
    source = evidence(IMAGE)
    return KeyObjectSelectionDocument(
        evidence=[source],
        content=KeyObjectSelection(codes.DCM.OfInterest, [source], description=description),
        series_instance_uid="2.25.5",
        series_number=1,
        sop_instance_uid="2.25.6",
        instance_number=1,
        manufacturer="Weasis",
    )


def test_a_key_object_selection_counts_by_its_description() -> None:
    read = _parse(_kos("No pneumonia"))
    assert (read.source, read.statements) == (ReadSource.KEY_OBJECT, {"pneumonia": ReadValue.ABSENT})
    assert read.images == {IMAGE.SOPInstanceUID}
    with pytest.raises(ReadError):
        _parse(_kos("look at this"))


@pytest.mark.parametrize(
    ("verified_at", "offset", "expected"),
    [
        ("20260102120000", "+0000", datetime(2026, 1, 2, 12, tzinfo=UTC)),
        ("20260102120000", "", datetime(2026, 1, 2, 11, tzinfo=UTC)),
        ("20260102120000.123456+0530", "", datetime(2026, 1, 2, 6, 30, tzinfo=UTC)),
        ("20260102120000-0100", "+0000", datetime(2026, 1, 2, 13, tzinfo=UTC)),
        ("20260102", "", datetime(2026, 1, 1, 23, tzinfo=UTC)),
        ("202601", "+0000", datetime(2026, 1, 2, 12, tzinfo=UTC)),
        ("20260102120000+9999", "", datetime(2026, 1, 2, 11, tzinfo=UTC)),
    ],
)
def test_the_time_of_reading_is_in_the_zone_that_is_named_or_the_sites(
    verified_at: str, offset: str, expected: datetime
) -> None:
    report = _signed([IMAGE], "present")
    report.VerifyingObserverSequence[0].VerificationDateTime = verified_at
    report.TimezoneOffsetFromUTC = offset
    report.ContentDate, report.ContentTime = "20260102", "120000"
    assert _parse(report).read_at == expected.timestamp()


def test_without_a_usable_date_there_is_no_time() -> None:
    report = _unverified(_signed([IMAGE], "present"))
    report.ContentDate = ""
    assert _parse(report).read_at is None


def test_a_flood_of_content_items_is_refused() -> None:
    report = _signed([IMAGE], "present")
    report.ContentSequence = Items([_text("x")] * 20_001)
    with pytest.raises(ReadError, match="20000"):
        _parse(report)
