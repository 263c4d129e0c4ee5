"""From a data set's header to plain values, tolerant of anything but missing UIDs."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from orthanc_al.domain.criteria import Traits
from orthanc_al.domain.header import Header
from orthanc_al.errors import NotAnInstanceError

_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*")

# What was requested and what was done (PS3.3 C.7.2.1, 10.6, C.4.14).
_PROCEDURES: Final = (
    "ProcedureCodeSequence",
    "RequestedProcedureCodeSequence",
    "PerformedProtocolCodeSequence",
)

_STAT: Final = frozenset({"STAT"})
_HIGH: Final = frozenset({"HIGH", "URGENT", "ASAP"})


def header_of(dataset: Dataset) -> Header:
    """Return what the header says.

    Raises
    ------
    NotAnInstanceError
        Study or SOP Instance UID or SOP Class UID (type 1: PS3.3 C.7.2.1, C.12.1) is missing or no
        UID; the text names the attribute.
    """
    return Header(
        study_instance_uid=_uid(dataset, "StudyInstanceUID"),
        series_instance_uid=_text(dataset, "SeriesInstanceUID", 64),
        sop_class_uid=_uid(dataset, "SOPClassUID"),
        sop_instance_uid=_uid(dataset, "SOPInstanceUID"),
        modality=_text(dataset, "Modality", 16).upper(),
        manufacturer=_text(dataset, "Manufacturer", 64),
        patient_id=_text(dataset, "PatientID", 128),
        issuer=_text(dataset, "IssuerOfPatientID", 64),
        patient_name=_text(dataset, "PatientName", 256),
        birth_date=_text(dataset, "PatientBirthDate", 8),
        sex=_text(dataset, "PatientSex", 4),
        accession_number=_text(dataset, "AccessionNumber", 64),
        description=_text(dataset, "StudyDescription", 128),
        study_date=_text(dataset, "StudyDate", 8),
        station=_text(dataset, "StationName", 128),
        body_part=body_part(dataset),
        image_type=_texts(dataset, "ImageType"),
        priority=_priority(dataset),
        expected_instances=_expected(dataset),
        pixels=min(_count(dataset, "Rows"), _count(dataset, "Columns")) > 0,
    )


def body_part(dataset: Dataset) -> str:
    """Return Body Part Examined (0018,0015), else the meaning of Anatomic Region (0008,2218), in capitals."""
    examined = _text(dataset, "BodyPartExamined", 32)
    if examined:
        return examined.upper()
    for region in _items(dataset, "AnatomicRegionSequence"):
        return _text(region, "CodeMeaning", 32).upper()
    return ""


def traits_of(dataset: Dataset) -> Traits:
    """Return what a model may ask of an image."""
    return Traits(
        modality=_text(dataset, "Modality", 16).upper(),
        body_part=body_part(dataset),
        view=_view(dataset),
        procedures=tuple(dict.fromkeys(_procedures(dataset))),
        station=_text(dataset, "StationName", 128).upper(),
        age=_age(dataset),
    )


def _view(dataset: Dataset) -> str:
    """Return View Position (0018,5101), else the meaning of View Code (0054,0220), in capitals."""
    position = _text(dataset, "ViewPosition", 16).upper()
    codes = _items(dataset, "ViewCodeSequence")
    return position or (_text(codes[0], "CodeMeaning", 64).upper() if codes else "")


def _procedures(dataset: Dataset) -> Iterator[str]:
    places = [dataset, *_items(dataset, "RequestAttributesSequence")]
    for place in places:
        for keyword in _PROCEDURES:
            for code in _items(place, keyword):
                yield _text(code, "CodeValue", 32)


def _age(dataset: Dataset) -> float | None:
    """Return the patient's age in years: Patient's Age (0010,1010), else from birth to study."""
    told = re.fullmatch(r"(\d{3})([DWMY])", _text(dataset, "PatientAge", 4))
    if told:
        return int(told[1]) / {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[told[2]]
    try:
        birth, day = (
            datetime.strptime(_text(dataset, keyword, 8), "%Y%m%d").replace(tzinfo=UTC)
            for keyword in ("PatientBirthDate", "StudyDate")
        )
    except ValueError:
        return None
    return (day - birth).days / 365.25


def _expected(dataset: Dataset) -> int | None:
    """Return Number of Study Related Instances; that of the series only where it is the only series."""
    study = _count(dataset, "NumberOfStudyRelatedInstances")
    if not study and _count(dataset, "NumberOfStudyRelatedSeries") == 1:
        study = _count(dataset, "NumberOfSeriesRelatedInstances")
    return study or None


def _priority(dataset: Dataset) -> str:
    """Return Requested Procedure Priority (0040,1003), which some put beside the request's attributes."""
    places = [dataset, *_items(dataset, "RequestAttributesSequence")]
    found = {_text(place, "RequestedProcedurePriority", 16).upper() for place in places}
    if found & _STAT:
        return "STAT"
    return "HIGH" if found & _HIGH else ""


def _uid(dataset: Dataset, keyword: str) -> str:
    found = _text(dataset, keyword, 129)
    if not found:
        raise NotAnInstanceError(f"{keyword} is missing or empty")
    if len(found) > 64 or not _UID.fullmatch(found):
        raise NotAnInstanceError(f"{keyword} is no UID (PS3.5 9.1)")
    return found


def _value(dataset: Dataset, keyword: str) -> Any:
    """Return a value, None where it is missing or can't be converted."""
    try:
        return dataset.get(keyword)
    except Exception:  # noqa: BLE001 - a named border: pydicom converts late, and raises what it likes
        return None


def _texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    value = _value(dataset, keyword)
    if value is None:
        return ()
    try:
        return tuple(_clean(str(part)) for part in (value if isinstance(value, MultiValue) else [value]))
    except Exception:  # noqa: BLE001 - the same border: names are decoded by str()
        return ()


def _text(dataset: Dataset, keyword: str, length: int) -> str:
    texts = _texts(dataset, keyword)
    return texts[0][:length] if texts else ""


def _clean(text: str) -> str:
    """Strip padding (PS3.5 6.2), control characters and lone surrogates: no database or page takes them."""
    printable = text if text.isprintable() else "".join(filter(str.isprintable, text))
    return printable.encode("utf-8", "replace").decode().strip()


def _items(dataset: Dataset, keyword: str) -> list[Dataset]:
    value = _value(dataset, keyword)
    return list(value) if isinstance(value, Sequence) else []


def _count(dataset: Dataset, keyword: str) -> int:
    texts = _texts(dataset, keyword)
    return int(texts[0]) if texts and texts[0].isascii() and texts[0].isdigit() and len(texts[0]) < 10 else 0
