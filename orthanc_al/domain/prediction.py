"""What the model says of an image and of a study."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the listener does without NumPy, which would be a fifth of its memory
    import numpy as np
    from numpy.typing import NDArray

    from orthanc_al.domain.geometry import SlicePlace


class Tier(StrEnum):
    """The class of urgency that a study is put into; ``none`` has no score, or none to be shown."""

    HIGH = "high"
    REVIEW = "review"
    NONE = "none"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Region:
    """Rectangle in an image, in pixels from the top left corner of the full-size frame (PS3.3 C.18.6)."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class ImageScore:
    """The model's outputs for one image.

    Attributes
    ----------
    logits
        float32, shape (n_findings,): before any calibration.
    embedding
        float32, shape (d,).
    regions
        The model's region for each finding in the image's own pixels, None where it has none.
    frame
        1-based frame number.
    place
        Where it lies in the patient, where it says so.
    """

    instance_id: str
    frame: int
    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]
    regions: tuple[Region | None, ...]
    place: SlicePlace | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one model says of one study about one finding.

    Attributes
    ----------
    logit
        Uncalibrated, of the image that decided it.
    probability
        Calibrated, in [0, 1].
    std
        Standard deviation of the logit under the head's posterior; 0 where the head has none.
    ood
        Mahalanobis distance of the embedding divided by the package's limit: above 1 is outside
        of the model's domain.
    """

    study_instance_uid: str
    revision: int
    model_digest: str
    finding: str
    logit: float
    probability: float
    std: float
    ood: float
    tier: Tier
