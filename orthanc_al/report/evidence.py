"""The header of a source image as our reports can build on it: `evidence`.

Real headers lack type 2 attributes, carry values that their VR forbids, and mix character sets. What a
report inherits (patient and study, PS3.3 A.35) is copied one by one: decoded to Unicode, UIDs and
identifiers as they are, and what can't be valid left empty rather than corrected.
"""

import re
from typing import Any, Final

from pydicom import Dataset
from pydicom.multival import MultiValue

UTF_8: Final = "ISO_IR 192"

TAGS: Final = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "Rows",
    "Columns",
    "NumberOfFrames",
)
"""What is read of a source image."""

_IDENTITY: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_TYPE_2: Final = ("PatientName", "PatientID", "StudyID", "AccessionNumber", "ReferringPhysicianName")
_LONGEST: Final = {"IssuerOfPatientID": 64, "StudyDescription": 64}  # LO: left out where longer
_DATE: Final = re.compile(r"[12]\d{3}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_TIME: Final = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def evidence(header: Dataset) -> Dataset:
    """Return a copy of ``header`` with what a report needs and nothing else, in UTF-8.

    Parameters
    ----------
    header
        Data set of an image, at least of the attributes `TAGS`; it is not changed.

    Raises
    ------
    AttributeError
        It lacks one of the UIDs that make it an instance.
    """
    copy = Dataset()
    copy.SpecificCharacterSet = UTF_8
    for keyword in _IDENTITY:
        setattr(copy, keyword, str(getattr(header, keyword)))
    copy.Modality = _text(header, "Modality")
    for keyword in _TYPE_2:
        setattr(copy, keyword, _text(header, keyword))
    for keyword, longest in _LONGEST.items():
        if 0 < len(text := _text(header, keyword)) <= longest:
            setattr(copy, keyword, text)
    copy.PatientBirthDate = _matching(header, "PatientBirthDate", _DATE)
    copy.StudyDate = _matching(header, "StudyDate", _DATE)
    copy.StudyTime = _matching(header, "StudyTime", _TIME)
    sex = _text(header, "PatientSex")
    copy.PatientSex = sex if sex in ("M", "F", "O") else ""
    for keyword in ("Rows", "Columns", "NumberOfFrames"):
        if isinstance(number := header.get(keyword), int):
            setattr(copy, keyword, int(number))
    return copy


def _text(header: Dataset, keyword: str) -> str:
    value: Any = header.get(keyword)
    if isinstance(value, MultiValue | list):  # a backslash where the VM is 1
        value = value[0] if value else None
    return "" if value is None else _CONTROL.sub("", str(value)).strip()


def _matching(header: Dataset, keyword: str, form: re.Pattern[str]) -> str:
    text = _text(header, keyword)
    return text if form.fullmatch(text) else ""
