"""A reader's statement as a Comprehensive 3D SR (PS3.3 A.35.13), TID 1500, COMPLETE and VERIFIED.

One measurement group (TID 1501) for each finding, with its coded Presence. The number of frames that were
read, inferred from the outline of the first image, stands in each: it is what the statement is about, and
OHIF 3.13 can't open a study with a group that has neither SCOORD nor NUM.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from highdicom.sr import (
    CoordinatesForMeasurement,
    GraphicTypeValues,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.valuerep import DT

from orthanc_al.domain import Finding, ReadValue, derived_uid
from orthanc_al.domain import concepts as c
from orthanc_al.report.document import comprehensive_3d_sr
from orthanc_al.report.result import Identity, Sources
from orthanc_al.report.structured_report import concept, dated, framed, source_of

SERIES_NUMBER: Final = 9803


@dataclass(frozen=True, slots=True)
class SignedRead:
    """What a person said, and what makes it a signed document.

    Attributes
    ----------
    statements
        Each finding with its presence.
    reader
        Value representation PN.
    organization
        Of the reader: the site's name.
    comment
        Her own words; may be empty.
    signed_at
        In the site's time zone.
    device_uid
        UID of this gateway.
    """

    statements: Mapping[Finding, ReadValue]
    reader: str
    organization: str
    comment: str
    signed_at: datetime
    device_uid: str
    software_version: str


def read_report(
    read: SignedRead, sources: Sources, identity: Identity, predecessors: Sequence[Dataset] = ()
) -> Dataset:
    """Return the report; the same arguments give the same data set.

    Parameters
    ----------
    sources
        All images of the study that was read; patient and study are those of the first.
    predecessors
        The model's report where it was shown, and what else this read replaces: SOP class, SOP instance,
        study and series UID of each.
    """
    with warnings.catch_warnings():  # highdicom and pydicom write names of patients into warnings
        warnings.simplefilter("ignore")
        document = comprehensive_3d_sr(
            _content(read, sources, identity),
            sources,
            previous_versions=list(predecessors) or None,
            is_complete=True,
            is_final=True,
            is_verified=True,
            verifying_observer_name=read.reader,
            verifying_organization=read.organization,
            series_description="Confirmed read",
            manufacturer_model_name=c.MANUFACTURER,
            device_serial_number=read.device_uid[-64:],
            software_versions=(read.software_version,),
            **framed(identity, read.signed_at),
        )
    verification = document.VerifyingObserverSequence[0]
    verification.VerificationDateTime = DT(f"{read.signed_at:%Y%m%d%H%M%S%z}")
    return dated(document)


def _content(read: SignedRead, sources: Sources, identity: Identity) -> MeasurementReport:
    modality = str(sources.images[0].Modality)
    person = ObserverContext(
        observer_type=concept(c.PERSON),
        observer_identifying_attributes=PersonObserverIdentifyingAttributes(
            name=read.reader, organization_name=read.organization
        ),
    )
    return MeasurementReport(
        observation_context=ObservationContext(observer_person_context=person),
        procedure_reported=concept(c.PROCEDURES.get(modality, c.IMAGING_PROCEDURE)),
        imaging_measurements=[
            _group(read, finding, value, sources, identity) for finding, value in read.statements.items()
        ],
        title=concept(c.IMAGING_MEASUREMENT_REPORT),
    )


def _group(
    read: SignedRead, finding: Finding, value: ReadValue, sources: Sources, identity: Identity
) -> MeasurementsAndQualitativeEvaluations:
    first = sources.images[0]
    outline = _outline(first)
    frames = sum(int(image.get("NumberOfFrames", 1) or 1) for image in sources.images)
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=derived_uid(identity.sop_instance_uid, finding.name), identifier=finding.name
        ),
        finding_type=concept(finding.code),
        qualitative_evaluations=[
            QualitativeEvaluation(concept(c.PRESENCE), concept(c.PRESENCE_VALUES[value]))
        ],
        measurements=[
            Measurement(
                name=concept(c.FRAMES),
                value=frames,
                unit=concept(c.NO_UNITS),
                referenced_coordinates=None
                if outline is None
                else [
                    CoordinatesForMeasurement(GraphicTypeValues.POLYLINE, outline, source_of(first, frame=1))
                ],
            )
        ],
        source_images=[
            SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)
            for image in sources.images
        ],
    )
    if read.comment:
        group[0].ContentSequence.append(_comment(read.comment))
    return group


def _comment(text: str) -> TextContentItem:
    """Return her words as they stand below the group, which TID 1501 lets be extended."""
    return TextContentItem(
        name=concept(c.COMMENT), value=text, relationship_type=RelationshipTypeValues.CONTAINS
    )


def _outline(image: Dataset) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """Return the closed rectangle around the image, None where its header does not say how large it is."""
    rows, columns = image.get("Rows"), image.get("Columns")
    if not rows or not columns:
        return None
    return np.array([[0.0, 0.0], [columns, 0.0], [columns, rows], [0.0, rows], [0.0, 0.0]])
