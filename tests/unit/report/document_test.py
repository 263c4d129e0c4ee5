"""Our documents are highdicom's to the byte, and pydicom's bytes; only the way there is shorter."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from highdicom.sr import Comprehensive3DSR, MeasurementReport
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from orthanc_al.domain import Code, Finding, ModelRef, ReadValue, Region, Tier
from orthanc_al.report import read_report as reading
from orthanc_al.report import structured_report as resulting
from orthanc_al.report.encoding import encoded
from orthanc_al.report.evidence import evidence
from orthanc_al.report.key_object_selection import key_object_selection
from orthanc_al.report.picture import secondary_capture
from orthanc_al.report.result import Identity, ImageFinding, Result, Sources, StudyFinding

PNEUMONIA = Finding("pneumonia", Code("233604007", "SCT", "Pneumonia"))
EFFUSION = Finding("effusion", Code("60046008", "SCT", "Pleural effusion"))
NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
IDENTITY = Identity("2.25.1", "2.25.2", 9801)


def _image(number: int, **values: object) -> Dataset:
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = ComputedRadiographyImageStorage, f"2.25.10{number}"
    header.StudyInstanceUID, header.SeriesInstanceUID, header.Modality = "2.25.3", "2.25.4", "CR"
    header.PatientName, header.PatientID, header.StudyDate = "Müller^Zoë=山田^太郎", "A1", "20260102"
    header.Rows, header.Columns = 96, 80
    for keyword, value in values.items():
        setattr(header, keyword, value)
    return evidence(header)


SOURCES = {
    "one image": Sources([_image(1)]),
    "three images, one of two frames": Sources([_image(1), _image(2, NumberOfFrames=2), _image(3)]),
}


def _result(sources: Sources, region: Region | None) -> Result:
    def told(finding: Finding) -> tuple[ImageFinding, ...]:
        return tuple(
            ImageFinding(finding, image.SOPInstanceUID, 1, 0.81234567 / number, region)
            for number, image in enumerate(sources.images, start=1)
        )

    return Result(
        ModelRef("cxr", "1.0.0", "ab" * 32),
        (StudyFinding(Tier.HIGH, 0.3, told(PNEUMONIA)), StudyFinding(Tier.LOW, 0.0, told(EFFUSION))),
        asked=True,
        device_uid="2.25.123",
        software_version="0.1.0",
        made_at=NOON,
    )


def _predecessor() -> Dataset:
    reference = Dataset()
    reference.SOPClassUID, reference.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.34", "2.25.9"
    reference.StudyInstanceUID, reference.SeriesInstanceUID = "2.25.3", "2.25.2"
    return reference


def _structured_report(sources: Sources, region: Region | None) -> Dataset:
    return resulting.structured_report(_result(sources, region), sources, IDENTITY, _predecessor())


def _read_report(sources: Sources, comment: str) -> Dataset:
    read = reading.SignedRead(
        {PNEUMONIA: ReadValue.PRESENT}, "Brandt^Karin", "Hospital", comment, NOON, "2.25.123", "0.1.0"
    )
    return reading.read_report(read, sources, IDENTITY, [_predecessor()])


def _whole(content: MeasurementReport, sources: Sources, **told: Any) -> Dataset:
    """Have highdicom make the document from the whole tree."""
    return Comprehensive3DSR(evidence=list(sources.images), content=content[0], **told)


def _by_pydicom(document: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, document)
    return buffer.getvalue()


@pytest.mark.parametrize("images", SOURCES)
@pytest.mark.parametrize("region", [None, Region(1.0, 2.0, 70.0, 90.5)])
def test_a_result_is_what_highdicom_makes_of_the_whole_tree(
    monkeypatch: pytest.MonkeyPatch, images: str, region: Region | None
) -> None:
    ours = encoded(_structured_report(SOURCES[images], region))
    monkeypatch.setattr(resulting, "comprehensive_3d_sr", _whole)
    assert ours == _by_pydicom(_structured_report(SOURCES[images], region))


@pytest.mark.parametrize("images", SOURCES)
@pytest.mark.parametrize("comment", ["", "left lower lobe", "unten links, größer"])
def test_a_read_is_what_highdicom_makes_of_the_whole_tree(
    monkeypatch: pytest.MonkeyPatch, images: str, comment: str
) -> None:
    ours = encoded(_read_report(SOURCES[images], comment))
    monkeypatch.setattr(reading, "comprehensive_3d_sr", _whole)
    assert ours == _by_pydicom(_read_report(SOURCES[images], comment))


def test_the_other_documents_are_written_as_pydicom_writes_them() -> None:
    sources = SOURCES["one image"]
    result = _result(sources, None)
    selection = key_object_selection(result, sources, IDENTITY)
    pixels = np.arange(96 * 80 * 3, dtype=np.uint8).reshape(96, 80, 3)
    picture = secondary_capture(result, result.findings[0].images[0], sources, IDENTITY, pixels)
    for document in (selection, picture):
        assert encoded(document) == _by_pydicom(document)


def _odd(**values: object) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    "dataset",
    [
        _odd(StudyInstanceUID="1.2.3", SOPInstanceUID="1.2", PatientSex="F", StudyID="odd", PatientID=""),
        _odd(PatientName="Yamada^Tarou=山田^太郎", StudyDescription="ü", TextValue="日"),
        _odd(SoftwareVersions=["1", "22"], ImageType=["DERIVED", "SECONDARY"], PatientBirthDate=None),
        _odd(SeriesNumber=7, NumericValue="0.25", FloatingPointValue=0.25, Rows=12, GraphicData=[1.0, 2.5]),
        _odd(PixelRepresentation=1, SmallestImagePixelValue=-5, BitsAllocated=16, PixelData=b"\0\1\2\3"),
        _odd(TextValue="ä" * 40_000),
        _odd(ContentSequence=Sequence([]), ConceptCodeSequence=[_odd(ContentSequence=[_odd(UID="1.2.3")])]),
    ],
    ids=["padding", "text", "several values", "numbers", "ambiguous", "long", "nested"],
)
def test_each_kind_of_element_is_written_as_pydicom_writes_it(dataset: Dataset) -> None:
    ours = encoded(dataset)
    assert ours == _by_pydicom(dataset)
    assert ours


def test_a_code_beyond_the_default_repertoire_is_refused_and_not_changed() -> None:
    with pytest.raises(UnicodeEncodeError):
        encoded(_odd(StudyInstanceUID="1.2.山"))
