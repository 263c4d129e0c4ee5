"""What the program is about: studies, instances, predictions, tiers and reads. Pure: no I/O."""

from orthanc_al.domain.codes import Code
from orthanc_al.domain.grouping import Attributes, Grouping, age_group, group_of
from orthanc_al.domain.identity import derived_uid, patient_key
from orthanc_al.domain.model import Finding, ModelRef
from orthanc_al.domain.origin import Origin, OriginKind
from orthanc_al.domain.prediction import ImageScore, Prediction, Region, Tier
from orthanc_al.domain.read import ConfirmedRead, ReadSource, ReadValue
from orthanc_al.domain.study import Instance, Study, StudyState

__all__ = [
    "Attributes",
    "Code",
    "ConfirmedRead",
    "Finding",
    "Grouping",
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
    "age_group",
    "derived_uid",
    "group_of",
    "patient_key",
]
