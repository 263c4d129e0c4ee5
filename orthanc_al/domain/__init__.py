"""What the program is about: studies, instances, predictions, tiers and reads. Pure: no I/O."""

from orthanc_al.domain.codes import Code
from orthanc_al.domain.identity import derived_uid, patient_key
from orthanc_al.domain.model import Finding, ModelRef
from orthanc_al.domain.origin import Origin, OriginKind
from orthanc_al.domain.prediction import ImageScore, Prediction, Region, Tier
from orthanc_al.domain.read import ConfirmedRead, ReadSource, ReadValue
from orthanc_al.domain.study import Instance, Study, StudyState

__all__ = [
    "Code",
    "ConfirmedRead",
    "Finding",
    "ImageScore",
    "Instance",
    "ModelRef",
    "Origin",
    "OriginKind",
    "Prediction",
    "ReadSource",
    "ReadValue",
    "Region",
    "Study",
    "StudyState",
    "Tier",
    "derived_uid",
    "patient_key",
]
