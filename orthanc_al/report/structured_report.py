"""The model's result as a Comprehensive 3D SR (PS3.3 A.35.13), TID 1500 Measurement Report.

One measurement group for each scored frame and finding. Where the model gives a region, the group is TID
1501 with the probability inferred from a rectangle, under a tracking identifier that OHIF knows as its
rectangle tool, so that a reader can take it over, relabel and save it; else TID 1410 with a point. Each
group has an SCOORD and a NUM: OHIF 3.13 can't open a study with a group that lacks one of them.
"""

import warnings
from datetime import datetime
from typing import Any, Final

import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    CoordinatesForMeasurement,
    DeviceObserverIdentifyingAttributes,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SourceImageForRegion,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.valuerep import DA, TM

from orthanc_al.domain import Code, Region, derived_uid
from orthanc_al.domain import concepts as c
from orthanc_al.report.document import comprehensive_3d_sr
from orthanc_al.report.evidence import UTF_8
from orthanc_al.report.result import Identity, ImageFinding, Result, Sources, StudyFinding

RECTANGLE_TOOL: Final = "Cornerstone3DTools@^0.1.0:RectangleROI"
"""Tracking identifier by which OHIF turns a group into a measurement of its own."""

_FEWEST_DIGITS: Final = 6  # of a probability: what a DS of 16 characters holds with room to spare


def structured_report(
    result: Result, sources: Sources, identity: Identity, predecessor: Dataset | None = None
) -> Dataset:
    """Return the SR; the same arguments give the same data set.

    Parameters
    ----------
    sources
        Patient and study are those of the first image.
    predecessor
        The report that this one replaces: SOP class, SOP instance, study and series UID. None for the
        first one of its study and model.
    """
    with warnings.catch_warnings():  # highdicom and pydicom write names of patients into warnings
        warnings.simplefilter("ignore")
        document = comprehensive_3d_sr(
            _measurement_report(result, sources, identity),
            sources,
            previous_versions=None if predecessor is None else [predecessor],
            is_complete=False,
            is_final=False,
            is_verified=False,
            series_description="AI result, not verified",
            **common(result, identity),
        )
    return dated(document)


def dated(document: Dataset) -> Dataset:
    """Put the time of the result where highdicom puts that of its run: a second run must give the same."""
    document.InstanceCreationDate, document.InstanceCreationTime = document.ContentDate, document.ContentTime
    for equipment in document.ContributingEquipmentSequence:
        equipment.ContributionDateTime = f"{document.ContentDate}{document.ContentTime}"
    return document


def common(result: Result, identity: Identity) -> dict[str, Any]:
    """Return what the documents about a result hand to highdicom alike: what is said by its model."""
    return {
        **framed(identity, result.made_at),
        "manufacturer_model_name": result.model.name,
        "device_serial_number": result.device_uid[-64:],
        "software_versions": (result.software_version, result.model.version),
        "coding_schemes": [
            CodingSchemeIdentificationItem(
                designator=c.LOCAL_SCHEME,
                name=c.LOCAL_SCHEME_NAME,
                responsible_organization=c.MANUFACTURER,
            )
        ],
    }


def framed(identity: Identity, made_at: datetime) -> dict[str, Any]:
    """Return what all of our documents hand to highdicom alike: series, maker, dates."""
    return {
        "sop_instance_uid": identity.sop_instance_uid,
        "series_instance_uid": identity.series_instance_uid,
        "series_number": identity.series_number,
        "instance_number": 1,
        "manufacturer": c.MANUFACTURER,
        "content_date": DA(made_at.date()),
        "content_time": TM(made_at.time()),
        "specific_character_set": UTF_8,
    }


def device_observer(result: Result) -> ObserverContext:
    """Return the device observer context (TID 1001, 1004): this gateway with its model."""
    return ObserverContext(
        observer_type=concept(c.DEVICE),
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=result.device_uid,
            name=c.MANUFACTURER,
            manufacturer_name=c.MANUFACTURER,
            model_name=result.model.name,
            serial_number=result.model.version,
        ),
    )


def concept(code: Code) -> CodedConcept:
    """Return a code as highdicom takes it."""
    return CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning)


def _measurement_report(result: Result, sources: Sources, identity: Identity) -> MeasurementReport:
    modality = str(sources.images[0].Modality)
    return MeasurementReport(
        observation_context=ObservationContext(observer_device_context=device_observer(result)),
        procedure_reported=concept(c.PROCEDURES.get(modality, c.IMAGING_PROCEDURE)),
        imaging_measurements=[
            _group(result, said, image, sources, identity)
            for said in result.findings
            for image in said.images
        ],
        title=concept(c.IMAGING_MEASUREMENT_REPORT),
    )


def _group(
    result: Result, said: StudyFinding, image: ImageFinding, sources: Sources, identity: Identity
) -> Any:
    decided = image is said.images[0]
    source = source_of(sources.image(image.sop_instance_uid), image.frame)
    common_part: dict[str, Any] = {
        "finding_type": concept(image.finding.code),
        "algorithm_id": AlgorithmIdentification(
            name=result.model.name,
            version=result.model.version,
            manufacturer=c.MANUFACTURER,
            family=concept(c.ARTIFICIAL_INTELLIGENCE),
            parameters=[f"sha256={result.model.digest}"],
        ),
        # Tier, question and the finding itself are about the study: they stand with the image that decided.
        "qualitative_evaluations": _evaluations(result, said) if decided else None,
    }
    tracking_uid = derived_uid(
        identity.sop_instance_uid, image.finding.name, image.sop_instance_uid, str(image.frame)
    )
    uncertainty = [_number(c.UNCERTAINTY, said.std)] if decided else []
    if image.region is None:
        middle = _middle(sources.image(image.sop_instance_uid))
        return PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(uid=tracking_uid, identifier=image.finding.name),
            referenced_region=ImageRegion(GraphicTypeValues.POINT, middle, source),
            measurements=[_number(c.PROBABILITY, image.probability), *uncertainty],
            **common_part,
        )
    rectangle = CoordinatesForMeasurement(GraphicTypeValues.POLYLINE, _corners(image.region), source)
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=tracking_uid, identifier=RECTANGLE_TOOL),
        measurements=[_number(c.PROBABILITY, image.probability, [rectangle]), *uncertainty],
        **common_part,
    )


def _evaluations(result: Result, said: StudyFinding) -> list[QualitativeEvaluation]:
    return [
        QualitativeEvaluation(concept(c.PRESENCE), concept(c.PRESENCE_VALUES[said.presence])),
        QualitativeEvaluation(concept(c.PRIORITY), concept(c.RANKS[said.tier])),
        QualitativeEvaluation(concept(c.REVIEW_WANTED), concept(c.YES if result.asked else c.NO)),
    ]


def _number(
    name: Code, value: float, coordinates: list[CoordinatesForMeasurement] | None = None
) -> Measurement:
    return Measurement(
        name=concept(name),
        value=round(float(value), _FEWEST_DIGITS),
        unit=concept(c.NO_UNITS),
        referenced_coordinates=coordinates,
    )


def source_of(image: Dataset, frame: int) -> SourceImageForRegion:
    """Return the reference to a frame (1-based); an image of one frame is named without it."""
    frames = [frame] if int(image.get("NumberOfFrames", 1) or 1) > 1 else None
    return SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID, frames)


def _middle(image: Dataset) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([[image.Columns / 2, image.Rows / 2]])


def _corners(region: Region) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the closed rectangle as OHIF draws it: five points (column, row), clockwise from top left."""
    left, top, right, bottom = region.left, region.top, region.right, region.bottom
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])
