"""A radiologist's signed report, as the gateway gets it back: what the tests' reader sends."""

from collections.abc import Sequence
from datetime import UTC, datetime

from highdicom.sr import (
    CodedConcept,
    ComprehensiveSR,
    FindingSite,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import DA, DT, TM

from orthanc_al.domain import Code, ReadValue, derived_uid
from orthanc_al.domain.concepts import IMAGING_MEASUREMENT_REPORT, PRESENCE, PRESENCE_VALUES
from orthanc_al.report.evidence import evidence

PNEUMONIA = Code("233604007", "SCT", "Pneumonia")
NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC).timestamp()


def verified_sr(
    images: Sequence[Dataset],
    value: ReadValue | str,
    *,
    finding: Code = PNEUMONIA,
    reader: str = "Reader^Rosa",
    at: float = NOON,
    predecessors: Sequence[Dataset] = (),
    number: int = 1,
) -> ComprehensiveSR:
    """Return a Comprehensive SR, COMPLETE and VERIFIED, by a Person observer, with a coded Presence.

    Parameters
    ----------
    images
        The study's images, with or without pixel data.
    value
        Whether ``finding`` is present, absent or undetermined.
    reader
        Person Name, family^given.
    at
        When it was signed, seconds since 1970; written as UTC.
    predecessors
        Reports that this one replaces.
    number
        Another one makes another report of the same reader.
    """
    sources = [evidence(image) for image in images]
    parts = (str(sources[0].StudyInstanceUID), finding.value, reader, str(value), str(at), str(number))
    report = ComprehensiveSR(
        evidence=sources,
        content=_content(sources, finding, ReadValue(value), reader, parts)[0],
        series_instance_uid=derived_uid("test reader's series", *parts),
        series_number=900 + number,
        sop_instance_uid=derived_uid("test reader's report", *parts),
        instance_number=1,
        manufacturer="Test Reporting",
        is_complete=True,
        is_final=True,
        is_verified=True,
        verifying_observer_name=reader,
        verifying_organization="Test Hospital",
        previous_versions=list(predecessors) or None,
    )
    _sign(report, at)
    return report


def _content(
    sources: Sequence[Dataset], finding: Code, value: ReadValue, reader: str, parts: Sequence[str]
) -> MeasurementReport:
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=derived_uid("test reader's finding", *parts), identifier="Finding 1"
        ),
        finding_type=concept(finding),
        finding_sites=[FindingSite(codes.SCT.Lung)],
        qualitative_evaluations=[QualitativeEvaluation(concept(PRESENCE), concept(PRESENCE_VALUES[value]))],
        source_images=[
            SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID) for source in sources
        ],
    )
    person = ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=PersonObserverIdentifyingAttributes(name=reader),
    )
    return MeasurementReport(
        observation_context=ObservationContext(observer_person_context=person),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=[group],
        title=concept(IMAGING_MEASUREMENT_REPORT),
    )


def _sign(report: Dataset, at: float) -> None:
    """Put the time of signing where highdicom puts that of its run."""
    when = datetime.fromtimestamp(at, UTC)
    report.TimezoneOffsetFromUTC = "+0000"
    report.ContentDate = report.InstanceCreationDate = DA(when.strftime("%Y%m%d"))
    report.ContentTime = report.InstanceCreationTime = TM(when.strftime("%H%M%S"))
    report.VerifyingObserverSequence[0].VerificationDateTime = DT(when.strftime("%Y%m%d%H%M%S"))


def concept(code: Code) -> CodedConcept:
    """Return a code as highdicom takes it."""
    return CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)
