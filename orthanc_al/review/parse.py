"""A structured report or key object selection -> what a person said in it. Pure.

A statement is a coded Presence of a known finding, or else a text of the site's fixed list: never a flag,
a series, or a finding code alone, since viewers copy those from our own report without anybody's opinion.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any, Final

from pydicom import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from orthanc_al.domain import ReadSource, ReadValue
from orthanc_al.domain import concepts as c
from orthanc_al.errors import ReadError
from orthanc_al.review.vocabulary import Vocabulary, normalised

_NOBODY: Final = frozenset({"", "unknown^unknown", "unknown", "anonymous"})
_VALUES: Final = {code.key: value for value, code in c.PRESENCE_VALUES.items()}
_MOST_ITEMS: Final = 20_000  # of a content tree; a report by a person has some hundred


@dataclass(frozen=True, slots=True)
class ParsedRead:
    """What a report says.

    Attributes
    ----------
    statements
        Finding -> value; a finding that is present in one image is present in the study.
    reader
        Name as given; empty where nobody is named.
    read_at
        Seconds since 1970; None where the report has no usable date.
    images
        SOP Instance UIDs that it refers to.
    supersedes
        SOP Instance UIDs of its predecessors.
    original_studies
        Study Instance UIDs that it, or what it refers to, had before a system changed them.
    accession_number
        Of the order; empty where it names none.
    """

    sop_instance_uid: str
    study_instance_uid: str
    source: ReadSource
    statements: Mapping[str, ReadValue]
    reader: str
    read_at: float | None
    images: frozenset[str]
    supersedes: frozenset[str]
    original_studies: frozenset[str] = frozenset()
    accession_number: str = ""


def parse(dataset: Dataset, vocabulary: Vocabulary, site: tzinfo) -> ParsedRead:
    """Read a report.

    Parameters
    ----------
    dataset
        SR or KOS.
    vocabulary
        What counts as a statement.
    site
        Time zone of dates that name none.

    Raises
    ------
    ReadError
        It is no read; the text says why.
    """
    if _text(dataset, "Manufacturer") == c.MANUFACTURER:
        raise ReadError("made by orthanc_al itself")
    key_objects = dataset.get("SOPClassUID") == KeyObjectSelectionDocumentStorage
    if not key_objects and _text(dataset, "CompletionFlag") != "COMPLETE":
        raise ReadError("not complete (Completion Flag)")
    groups = list(_groups(dataset))
    root = groups[0] if groups else []
    if root and _by_device(root):
        raise ReadError("observed by a device")
    coded = _combined(statement for group in groups for statement in _coded(group, vocabulary))
    statements = coded or _combined(
        statement for group in groups for statement in _labelled(group, vocabulary)
    )
    if not statements:
        raise ReadError("no coded Presence of a known finding, and no text of the site's list")
    return ParsedRead(
        sop_instance_uid=_text(dataset, "SOPInstanceUID"),
        study_instance_uid=_text(dataset, "StudyInstanceUID"),
        source=_source(dataset, key_objects=key_objects, coded=bool(coded)),
        statements=statements,
        reader=_reader(dataset, root),
        read_at=_read_at(dataset, site),
        images=frozenset(_references(dataset, groups)),
        supersedes=frozenset(_predecessors(dataset)),
        original_studies=frozenset(_original_studies(dataset)),
        accession_number=_accession_number(dataset),
    )


def _source(dataset: Dataset, *, key_objects: bool, coded: bool) -> ReadSource:
    if key_objects:
        return ReadSource.KEY_OBJECT
    verified = _text(dataset, "VerificationFlag") == "VERIFIED" and _verifier(dataset) is not None
    return ReadSource.VERIFIED_SR if verified and coded else ReadSource.VIEWER_SR


def _groups(dataset: Dataset) -> Iterator[list[Dataset]]:
    """Yield the children of each content item that has any, the root's first."""
    waiting, seen = [dataset], 0
    while waiting:
        parent = waiting.pop(0)
        children = list(parent.get("ContentSequence") or [])
        seen += len(children)
        if seen > _MOST_ITEMS:
            raise ReadError(f"more than {_MOST_ITEMS} content items")
        # An observation context holds for what is below it (PS3.16 TID 1001): what a device observed
        # is none of the statements of the person who signed the whole.
        if children and (parent is dataset or not _by_device(children)):
            yield children
            waiting += children


def _by_device(children: list[Dataset]) -> bool:
    """Whether an observation context (TID 1001) among these items names a device and no person."""
    observers = {_code(item, "ConceptCodeSequence") for item in children if _is(item, c.OBSERVER_TYPE.key)}
    return c.DEVICE.key in observers and c.PERSON.key not in observers


def _coded(group: list[Dataset], vocabulary: Vocabulary) -> Iterator[tuple[str, ReadValue]]:
    """Yield a Presence beside a Finding, below it, or as the value of the finding's own question."""
    findings = [item for item in group if _is(item, c.FINDING.key)]
    names = [vocabulary.codes.get(_code(item, "ConceptCodeSequence")) for item in findings]
    for item in group:
        value = _VALUES.get(_code(item, "ConceptCodeSequence"))
        asked = _code(item, "ConceptNameCodeSequence")
        if value is None:
            continue
        if asked == c.PRESENCE.key and len(names) == 1 and names[0] is not None:
            yield names[0], value
        elif asked in vocabulary.codes:
            yield vocabulary.codes[asked], value
    for item, name in zip(findings, names, strict=True):
        for child in item.get("ContentSequence") or []:
            value = _VALUES.get(_code(child, "ConceptCodeSequence"))
            if name is not None and value is not None and _is(child, c.PRESENCE.key):
                yield name, value


def _labelled(group: list[Dataset], vocabulary: Vocabulary) -> Iterator[tuple[str, ReadValue]]:
    """Yield the texts of the site's list: a viewer's comment, or a key object's description."""
    for item in group:
        if _is(item, c.COMMENT.key) or _is(item, c.KEY_OBJECT_DESCRIPTION.key):
            said = vocabulary.labels.get(normalised(_text(item, "TextValue")))
            if said is not None:
                yield said


def _combined(statements: Iterator[tuple[str, ReadValue]]) -> dict[str, ReadValue]:
    """Return one value a finding: present anywhere is present, else undetermined anywhere, else absent."""
    order = (ReadValue.ABSENT, ReadValue.UNDETERMINED, ReadValue.PRESENT)
    found: dict[str, ReadValue] = {}
    for finding, value in statements:
        found[finding] = max(found.get(finding, value), value, key=order.index)
    return found


def _reader(dataset: Dataset, root: list[Dataset]) -> str:
    """Return who verified it, else who observed; nobody's names are nobody."""
    verifier = _verifier(dataset)
    names = [] if verifier is None else [_person(verifier, "VerifyingObserverName")]
    names += [_person(item, "PersonName") for item in root if _is(item, c.PERSON_OBSERVER_NAME.key)]
    return next((name for name in names if name.casefold() not in _NOBODY), "")


def _person(item: Dataset, keyword: str) -> str:
    """Return a name without the delimiters that may be left out (PS3.5 6.2.1.1): it is the same reader."""
    return "=".join(group.rstrip("^ ") for group in _text(item, keyword).split("=")).rstrip("=")


def _verifier(dataset: Dataset) -> Dataset | None:
    """Return the newest verification."""
    items = list(dataset.get("VerifyingObserverSequence") or [])
    return max(items, key=lambda item: _text(item, "VerificationDateTime")) if items else None


def _read_at(dataset: Dataset, site: tzinfo) -> float | None:
    verifier = _verifier(dataset)
    texts = [] if verifier is None else [_text(verifier, "VerificationDateTime")]
    texts.append(_text(dataset, "ContentDate") + _text(dataset, "ContentTime"))
    zone = _offset(_text(dataset, "TimezoneOffsetFromUTC")) or site
    return next((time for text in texts if (time := _time(text, zone)) is not None), None)


def _time(text: str, zone: tzinfo) -> float | None:
    """Return a DT (PS3.5 6.2) as seconds since 1970, None where it names no day."""
    number, sign, offset = text, "", ""
    for mark in "+-":
        if mark in text:
            number, sign, offset = text.partition(mark)
    digits = number.partition(".")[0]
    try:
        when = datetime.fromisoformat(f"{digits[:8]}T{digits[8:14].ljust(6, '0')}")
        return when.replace(tzinfo=_offset(sign + offset) or zone).timestamp()
    except (ValueError, OverflowError):
        return None


def _offset(text: str) -> tzinfo | None:
    """Return the zone of an offset like +0100."""
    if len(text) != 5 or text[0] not in "+-" or not text[1:].isdigit():
        return None
    minutes = int(text[1:3]) * 60 + int(text[3:])
    return timezone(timedelta(minutes=minutes if text[0] == "+" else -minutes)) if minutes < 1440 else None


def _references(dataset: Dataset, groups: list[list[Dataset]]) -> Iterator[str]:
    for group in groups:
        for item in group:
            for reference in item.get("ReferencedSOPSequence") or []:
                yield _text(reference, "ReferencedSOPInstanceUID")
    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        yield from _hierarchical(dataset, keyword)


def _predecessors(dataset: Dataset) -> Iterator[str]:
    yield from _hierarchical(dataset, "PredecessorDocumentsSequence")


def _original_studies(dataset: Dataset) -> Iterator[str]:
    """Yield the values of Study Instance UID before it was changed (PS3.3 C.12.1.1.9.1)."""
    for change in dataset.get("OriginalAttributesSequence") or []:
        for before in change.get("ModifiedAttributesSequence") or []:
            if _text(before, "StudyInstanceUID"):
                yield _text(before, "StudyInstanceUID")


def _accession_number(dataset: Dataset) -> str:
    """Return the report's accession number, else that of the one request that it answers (PS3.3 C.17.2)."""
    requests = {_text(item, "AccessionNumber") for item in dataset.get("ReferencedRequestSequence") or []}
    answered = requests - {""}
    return _text(dataset, "AccessionNumber") or (answered.pop() if len(answered) == 1 else "")


def _hierarchical(dataset: Dataset, keyword: str) -> Iterator[str]:
    """Yield the UIDs of a Hierarchical SOP Instance Reference Macro (PS3.3 C.17.2.1)."""
    for study in dataset.get(keyword) or []:
        for series in study.get("ReferencedSeriesSequence") or []:
            for reference in series.get("ReferencedSOPSequence") or []:
                yield _text(reference, "ReferencedSOPInstanceUID")


def _is(item: Dataset, key: tuple[str, str]) -> bool:
    return _code(item, "ConceptNameCodeSequence") == key


def _code(item: Dataset, keyword: str) -> tuple[str, str]:
    codes: Any = item.get(keyword)
    if not codes:
        return ("", "")
    return (_text(codes[0], "CodeValue"), _text(codes[0], "CodingSchemeDesignator"))


def _text(item: Dataset, keyword: str) -> str:
    value: Any = item.get(keyword)
    return "" if value is None else str(value).strip()
