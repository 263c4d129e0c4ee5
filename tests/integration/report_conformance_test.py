"""Our SR and KOS over real headers: no error by dciodvfy, and DCMTK reads the tree."""

import csv
import re
import subprocess
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydicom import Dataset, dcmread

from orthanc_al.domain import Code, Finding, ModelRef, Region, Tier
from orthanc_al.imaging.reading import read_header
from orthanc_al.report.evidence import evidence
from orthanc_al.report.key_object_selection import key_object_selection
from orthanc_al.report.result import Identity, ImageFinding, Result, Sources, StudyFinding
from orthanc_al.report.structured_report import structured_report
from tests.conftest import shared_data
from tests.support.radiographs import radiographs
from tests.support.verified_sr import verified_sr

pytestmark = [pytest.mark.needs_data, pytest.mark.needs_dicom3tools, pytest.mark.needs_dcmtk]

PNEUMONIA = Finding("pneumonia", Code("233604007", "SCT", "Pneumonia"))
EFFUSION = Finding("effusion", Code("60046008", "SCT", "Pleural effusion"))
MADE_AT = datetime(2026, 1, 2, 11, 0, 0, tzinfo=ZoneInfo("Europe/Zurich"))
CLASSES = ("CR", "DX", "MG", "CT")
# A local code is not in the validator's list; what the source lacks stays empty (type 2).
SUMMARY = "Dicom dataset contains invalid data values"
EXPECTED = ("Unrecognized defined term <99ORTHANCAL>", "would be needed to build DICOMDIR")


def _sources(data: Path) -> dict[str, Path]:
    """Return one file of each kind: modality, maker, character set, and whose collection it is from."""
    with (data / "dicom" / "INDEX.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["read"] == "ok" and row["has_pixels"] == "yes"]
    chosen: dict[str, Path] = {}
    for row in rows:
        modality = row["modality"] if row["modality"] in CLASSES else "other"
        makers = (row["source"], row["manufacturer"]) if modality != "other" else ()
        chosen.setdefault(
            " ".join((modality, *makers, row["charset"])), data / "dicom" / row["source"] / row["path"]
        )
    return chosen


def _report(image: Dataset, *, region: bool) -> tuple[Dataset, Dataset]:
    box = Region(1.0, 2.0, image.Columns - 1.0, image.Rows - 2.5) if region else None
    images = (ImageFinding(PNEUMONIA, image.SOPInstanceUID, 1, 0.81234567, box),)
    others = (ImageFinding(EFFUSION, image.SOPInstanceUID, 1, 1e-7, box),)
    result = Result(
        ModelRef("cxr", "1.0.0", "ab" * 32),
        (StudyFinding(Tier.HIGH, 0.3, images), StudyFinding(Tier.LOW, 0.0, others)),
        asked=True,
        device_uid="2.25.123",
        software_version="0.1.0",
        made_at=MADE_AT,
    )
    predecessor = Dataset()
    predecessor.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.34"
    predecessor.SOPInstanceUID = "2.25.9"
    predecessor.StudyInstanceUID = image.StudyInstanceUID
    predecessor.SeriesInstanceUID = "2.25.2"
    sources = Sources([image])
    return (
        structured_report(result, sources, Identity("2.25.1", "2.25.2", 9801), predecessor),
        key_object_selection(result, sources, Identity("2.25.3", "2.25.4", 9802)),
    )


def _faults(document: Dataset, path: Path) -> list[str]:
    """Return dciodvfy's errors and unexpected warnings."""
    document.save_as(path, enforce_file_format=True)
    verified = subprocess.run(
        ["dciodvfy", str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    lines = (verified.stdout + verified.stderr).splitlines()
    assert lines, "dciodvfy names at least the SOP class"
    return [
        line
        for line in lines
        if line.startswith(("Error", "Warning")) and not any(known in line for known in EXPECTED)
    ]


@pytest.mark.parametrize("region", [True, False])
def test_reports_about_wrapped_radiographs_have_no_fault(data: Path, tmp_path: Path, region: bool) -> None:
    for number, film in enumerate(radiographs(data, 4)):
        for index, document in enumerate(_report(evidence(film.dataset), region=region)):
            path = tmp_path / f"{number}-{index}.dcm"
            assert _faults(document, path) == []
            _dump(path)


def test_the_tests_own_reader_writes_without_fault(data: Path, tmp_path: Path) -> None:
    [film] = radiographs(data, 1)
    assert _faults(verified_sr([film.dataset], "present"), tmp_path / "verified.dcm") == []


def _dump(path: Path) -> None:
    """Let DCMTK read the content tree."""
    dumped = subprocess.run(
        ["dsrdump", "+Pn", str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert dumped.returncode == 0, dumped.stderr


def _invalid(image: Dataset) -> list[str]:
    """Return what identifies the source and is invalid there: it must not be changed in a report."""
    uids = [image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID]
    texts = [text for text in (image.AccessionNumber, image.StudyID) if len(text) > 16]
    return [uid for uid in uids if not re.fullmatch(r"[0-2](\.(0|[1-9]\d*))+", uid)] + texts


def _names() -> list[str]:
    try:
        return sorted(_sources(shared_data()))
    except pytest.skip.Exception:
        return []


@pytest.mark.parametrize("name", _names())
def test_reports_about_real_headers_have_no_fault(data: Path, tmp_path: Path, name: str) -> None:
    image = evidence(read_header(_sources(data)[name]))
    for index, document in enumerate(_report(image, region=True)):
        faults = _faults(document, tmp_path / f"{index}.dcm")
        inherited = _invalid(image)
        excused = [*inherited, SUMMARY] if inherited else []
        errors = [line for line in faults if line.startswith("Error")]
        assert [line for line in errors if not any(value in line for value in excused)] == []
        if not inherited:
            _dump(tmp_path / f"{index}.dcm")
    again = dcmread(tmp_path / "0.dcm")
    assert again.SpecificCharacterSet == "ISO_IR 192"
    assert again.PatientID == image.PatientID
    assert str(again.PatientName) == str(image.PatientName)
