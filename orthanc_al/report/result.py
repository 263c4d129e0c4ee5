"""What a report says, before it is put into DICOM."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom import Dataset

from orthanc_al.domain import Finding, ModelRef, ReadValue, Region, Tier


@dataclass(frozen=True, slots=True)
class ImageFinding:
    """What the model says of one frame about one finding.

    Attributes
    ----------
    frame
        1-based frame number.
    probability
        Calibrated, in [0, 1].
    region
        In the pixels of the full-size frame; None where the model gives none.
    """

    finding: Finding
    sop_instance_uid: str
    frame: int
    probability: float
    region: Region | None


@dataclass(frozen=True, slots=True)
class StudyFinding:
    """What the model says of the study about one finding.

    Attributes
    ----------
    std
        Standard deviation of the logit.
    images
        Of each scored frame; the one that decided the study first.
    """

    tier: Tier
    std: float
    images: tuple[ImageFinding, ...]

    @property
    def presence(self) -> ReadValue:
        """The tier in the words of a report: undetermined is what a person should look at."""
        return {Tier.HIGH: ReadValue.PRESENT, Tier.LOW: ReadValue.ABSENT}.get(
            self.tier, ReadValue.UNDETERMINED
        )


@dataclass(frozen=True, slots=True)
class Result:
    """All that one model says of a study.

    Attributes
    ----------
    asked
        Whether the radiologist is asked to confirm or reject.
    device_uid
        UID of this gateway (TID 1004).
    made_at
        When it was scored, in the site's time zone: the report's date and time.
    """

    model: ModelRef
    findings: tuple[StudyFinding, ...]
    asked: bool
    device_uid: str
    software_version: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Sources:
    """What the report is about: `orthanc_al.report.evidence.evidence` of each scored image, in one study."""

    images: Sequence[Dataset]

    def image(self, sop_instance_uid: str) -> Dataset:
        """Return one of them.

        Raises
        ------
        KeyError
            It is not among them.
        """
        for image in self.images:
            if image.SOPInstanceUID == sop_instance_uid:
                return image
        raise KeyError(sop_instance_uid)


@dataclass(frozen=True, slots=True)
class Identity:
    """The UIDs of one of our objects, derived from what it is about (promise 8)."""

    sop_instance_uid: str
    series_instance_uid: str
    series_number: int
