"""A source's header as a report can build on it: whole, valid, and nothing invented."""

import pytest
from pydicom import Dataset
from pydicom.multival import MultiValue

from orthanc_al.report.evidence import evidence
from orthanc_al.report.result import Sources

UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def _header(**values: object) -> Dataset:
    header = Dataset()
    for number, keyword in enumerate(UIDS):
        setattr(header, keyword, f"1.2.{number}")
    for keyword, value in values.items():
        setattr(header, keyword, value)
    return header


def test_what_is_missing_of_type_2_is_empty_and_not_invented() -> None:
    copy = evidence(_header())
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ReferringPhysicianName",
    ):
        assert copy[keyword].value in ("", None)
    assert copy.SpecificCharacterSet == "ISO_IR 192"
    assert "StudyDescription" not in copy


def test_uids_and_identifiers_stay_as_they_are() -> None:
    copy = evidence(_header(PatientID="A" * 100, AccessionNumber="B" * 20, IssuerOfPatientID="H"))
    assert [copy[keyword].value for keyword in UIDS] == ["1.2.0", "1.2.1", "1.2.2", "1.2.3"]
    assert (copy.PatientID, copy.AccessionNumber, copy.IssuerOfPatientID) == ("A" * 100, "B" * 20, "H")


@pytest.mark.parametrize(
    ("keyword", "value", "kept"),
    [
        ("PatientBirthDate", "20200230", "20200230"),
        ("PatientBirthDate", "2020", ""),
        ("StudyDate", "20249999", ""),
        ("StudyTime", "101500.123", "101500.123"),
        ("StudyTime", "10:15", ""),
        ("PatientSex", "F", "F"),
        ("PatientSex", "W", ""),
        ("StudyID", "a\x00b\n", "ab"),
        ("StudyDescription", "x" * 65, None),
    ],
)
def test_what_can_not_be_valid_is_left_empty(keyword: str, value: str, kept: str | None) -> None:
    header = Dataset()
    header.update(_header())
    header.add_new(keyword, "LO", value)
    assert evidence(header).get(keyword) == kept


def test_of_several_values_where_one_may_be_the_first_is_taken() -> None:
    header = _header(StudyID="one\\two", AccessionNumber=MultiValue(str, []))
    copy = evidence(header)
    assert (copy.StudyID, copy.AccessionNumber) == ("one", "")


def test_names_come_out_of_their_character_sets() -> None:
    header = _header(SpecificCharacterSet=["ISO 2022 IR 6", "ISO 2022 IR 87"])
    header.add_new("PatientName", "PN", "Yamada^Tarou=山田^太郎")
    assert str(evidence(header).PatientName) == "Yamada^Tarou=山田^太郎"


def test_a_header_without_uids_is_no_instance() -> None:
    with pytest.raises(AttributeError):
        evidence(Dataset())


def test_the_source_is_not_changed() -> None:
    header = _header(PatientID="x")
    before = str(header)
    evidence(header)
    assert str(header) == before


def test_sources_are_found_by_their_uid() -> None:
    sources = Sources([evidence(_header())])
    assert sources.image("1.2.1").SOPClassUID == "1.2.0"
    with pytest.raises(KeyError):
        sources.image("1.2.9")
