"""What is written into an SR comes back out of it, and ours is never read as a person's."""

from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread

from orthanc_al.domain import Code, Finding, ModelRef, ReadSource, ReadValue, Region, Tier
from orthanc_al.domain import concepts as c
from orthanc_al.errors import ReadError
from orthanc_al.report.encoding import encoded
from orthanc_al.report.evidence import evidence
from orthanc_al.report.result import Identity, ImageFinding, Result, Sources, StudyFinding
from orthanc_al.report.structured_report import structured_report
from orthanc_al.review.parse import parse
from orthanc_al.review.vocabulary import Vocabulary
from tests.support.radiographs import wrap
from tests.support.verified_sr import verified_sr

FINDINGS = (
    Finding("pneumonia", Code("233604007", "SCT", "Pneumonia")),
    Finding("effusion", Code("60046008", "SCT", "Pleural effusion")),
)
VOCABULARY = Vocabulary.of(FINDINGS)
PIXELS = np.zeros((64, 48), np.uint8)
IMAGES = [evidence(wrap(PIXELS, 1, image=number)) for number in (1, 2)]
MADE_AT = datetime(2026, 1, 2, 11, 0, 0, tzinfo=UTC)

coordinate = st.floats(0, 1024, allow_nan=False, width=32)
regions = st.none() | st.builds(Region, coordinate, coordinate, coordinate, coordinate)
texts = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=16)


@st.composite
def findings(draw: st.DrawFn) -> tuple[StudyFinding, ...]:
    return tuple(
        StudyFinding(
            draw(st.sampled_from(Tier)),
            draw(st.floats(0, 10)),
            tuple(
                ImageFinding(finding, image.SOPInstanceUID, 1, draw(st.floats(0, 1)), draw(regions))
                for image in IMAGES
            ),
        )
        for finding in draw(st.sets(st.sampled_from(FINDINGS), min_size=1))
    )


@st.composite
def results(draw: st.DrawFn) -> Result:
    model = ModelRef(draw(texts), draw(texts), draw(st.text("0123456789abcdef", min_size=64, max_size=64)))
    return Result(model, draw(findings()), draw(st.booleans()), "2.25.123", "0.1.0", MADE_AT)


def _as_it_arrives(document: Dataset) -> Dataset:
    buffer = BytesIO()
    document.save_as(buffer, enforce_file_format=True)
    return dcmread(BytesIO(buffer.getvalue()))


def _named(group: Dataset, code: Code) -> list[Dataset]:
    return [one for one in group.ContentSequence if one.ConceptNameCodeSequence[0].CodeValue == code.value]


def _value(item: Dataset) -> tuple[str, str]:
    code = item.ConceptCodeSequence[0]
    return code.CodeValue, code.CodingSchemeDesignator


@settings(max_examples=25, deadline=None)
@given(results())
def test_finding_probability_region_and_algorithm_come_back(result: Result) -> None:
    document = structured_report(result, Sources(IMAGES), Identity("2.25.1", "2.25.2", 9801))
    groups = list(_as_it_arrives(document).ContentSequence[-1].ContentSequence)
    said = [(finding, image) for finding in result.findings for image in finding.images]
    assert len(groups) == len(said)
    for group, (finding, image) in zip(groups, said, strict=True):
        assert _value(_named(group, c.FINDING)[0]) == image.finding.code.key
        [probability] = _named(group, c.PROBABILITY)
        assert float(probability.MeasuredValueSequence[0].NumericValue) == pytest.approx(
            image.probability, abs=5.1e-7
        )
        assert _named(group, c.ALGORITHM_NAME)[0].TextValue == result.model.name
        assert _named(group, c.ALGORITHM_VERSION)[0].TextValue == result.model.version
        assert _named(group, c.ALGORITHM_PARAMETERS)[0].TextValue == f"sha256={result.model.digest}"
        _check_region(group, probability, image)
        decided = image is finding.images[0]
        assert [_value(item) for item in _named(group, c.PRESENCE)] == (
            [c.PRESENCE_VALUES[finding.presence].key] if decided else []
        )
        assert len(_named(group, c.PRIORITY)) == len(_named(group, c.REVIEW_WANTED)) == decided


def _check_region(group: Dataset, probability: Dataset, image: ImageFinding) -> None:
    if image.region is None:
        [place] = [item for item in group.ContentSequence if item.ValueType == "SCOORD"]
        assert (place.GraphicType, list(place.GraphicData)) == ("POINT", [24.0, 32.0])
    else:
        [place] = probability.ContentSequence
        region = image.region
        assert place.GraphicType == "POLYLINE"
        assert list(place.GraphicData[:2]) == [region.left, region.top]
        assert list(place.GraphicData[4:6]) == [region.right, region.bottom]
    [reference] = place.ContentSequence
    assert reference.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == image.sop_instance_uid


@settings(max_examples=15, deadline=None)
@given(results(), st.booleans(), st.booleans())
def test_our_own_report_is_never_read_as_truth(result: Result, complete: bool, renamed: bool) -> None:
    """Not by its maker, and without that, not by its flags, nor by its observer."""
    document = _as_it_arrives(structured_report(result, Sources(IMAGES), Identity("2.25.1", "2.25.2", 9801)))
    if complete:
        document.CompletionFlag = "COMPLETE"
    if renamed:
        document.Manufacturer = "A viewer"
    with pytest.raises(ReadError):
        parse(document, VOCABULARY, UTC)


@settings(max_examples=15, deadline=None)
@given(results())
def test_the_same_result_gives_the_same_bytes(result: Result) -> None:
    identity = Identity("2.25.1", "2.25.2", 9801)
    first, second = (encoded(structured_report(result, Sources(IMAGES), identity)) for _ in range(2))
    assert first == second


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(FINDINGS), st.sampled_from(ReadValue), texts, st.integers(946_684_800, 4_000_000_000))
def test_what_a_person_signs_comes_back(finding: Finding, value: ReadValue, family: str, at: int) -> None:
    report = verified_sr(IMAGES, value, finding=finding.code, reader=f"X{family}^Rosa", at=float(at))
    read = parse(_as_it_arrives(report), VOCABULARY, UTC)
    assert read.source is ReadSource.VERIFIED_SR
    assert read.statements == {finding.name: value}
    assert (read.reader, read.read_at) == (f"X{family}^Rosa", float(at))
    assert read.images == {image.SOPInstanceUID for image in IMAGES}
