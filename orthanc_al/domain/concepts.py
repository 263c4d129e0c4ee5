"""The coded concepts that our reports are written in, and that reads are recognised by.

From PS3.16 (DCM codes: annex D) as pydicom's dictionary has them, but where a line says otherwise. Report
and review must mean the same by a code and do not know each other, so that they meet here.
"""

from typing import Final

from orthanc_al.domain.codes import Code
from orthanc_al.domain.prediction import Tier
from orthanc_al.domain.read import ReadValue

MANUFACTURER: Final = "orthanc_al"
"""Manufacturer (0008,0070) of all objects of ours: what carries it is never a read."""

# Structure: TID 1500, 1501, 1410, 4019, 1001.
IMAGING_MEASUREMENT_REPORT: Final = Code("126000", "DCM", "Imaging Measurement Report")
FINDING: Final = Code("121071", "DCM", "Finding")
COMMENT: Final = Code("121106", "DCM", "Comment")
PROBABILITY: Final = Code("122157", "DCM", "Probability")
FRAMES: Final = Code("121140", "DCM", "Number of Frames")
NO_UNITS: Final = Code("1", "UCUM", "no units")
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")
ALGORITHM_NAME: Final = Code("111001", "DCM", "Algorithm Name")
ALGORITHM_VERSION: Final = Code("111003", "DCM", "Algorithm Version")
ALGORITHM_PARAMETERS: Final = Code("111002", "DCM", "Algorithm Parameters")
OBSERVER_TYPE: Final = Code("121005", "DCM", "Observer Type")
PERSON: Final = Code("121006", "DCM", "Person")
DEVICE: Final = Code("121007", "DCM", "Device")
PERSON_OBSERVER_NAME: Final = Code("121008", "DCM", "Person Observer Name")

# TID 2010.
FOR_PHYSICIAN_REVIEW: Final = Code("128201", "DCM", "For Physician Review")
KEY_OBJECT_DESCRIPTION: Final = Code("113012", "DCM", "Key Object Description")

# "Presence" is not in pydicom's dictionary: SNOMED CT 705057003 "Presence (property)", found alike in the
# KBV's FHIR value sets and in RSNA's finding models.
PRESENCE: Final = Code("705057003", "SCT", "Presence")
PRESENCE_VALUES: Final = {
    ReadValue.PRESENT: Code("52101004", "SCT", "Present"),
    ReadValue.ABSENT: Code("272519000", "SCT", "Absent"),
    ReadValue.UNDETERMINED: Code("373068000", "SCT", "Undetermined"),
}
YES: Final = Code("373066001", "SCT", "Yes")
NO: Final = Code("373067005", "SCT", "No")

# Procedure Reported (CID 100 is extensible). 363680008 is not in pydicom's dictionary: "Radiographic
# imaging procedure" in SNOMED International's release notes and in HL7's C-CDA examples.
PROCEDURES: Final = {
    "CR": Code("363680008", "SCT", "Radiographic imaging procedure"),
    "DX": Code("363680008", "SCT", "Radiographic imaging procedure"),
    "MG": Code("71651007", "SCT", "Mammography"),
    "CT": Code("77477000", "SCT", "Computed tomography"),
}
IMAGING_PROCEDURE: Final = Code("363679005", "SCT", "Imaging procedure")

# No standard code was found for these; PS3.3 section 8.2 leaves designators that begin with 99 to us.
LOCAL_SCHEME: Final = "99ORTHANCAL"
LOCAL_SCHEME_NAME: Final = "orthanc_al local codes"
UNCERTAINTY: Final = Code("AL-UNCERT", LOCAL_SCHEME, "Standard deviation of the logit")
PRIORITY: Final = Code("AL-PRIORITY", LOCAL_SCHEME, "Triage rank")
REVIEW_WANTED: Final = Code("AL-REVIEW", LOCAL_SCHEME, "Review wanted")
RANKS: Final = {
    Tier.HIGH: Code("AL-HIGH", LOCAL_SCHEME, "High"),
    Tier.REVIEW: Code("AL-MIDDLE", LOCAL_SCHEME, "Between high and low"),
    Tier.LOW: Code("AL-LOW", LOCAL_SCHEME, "Low"),
    Tier.NONE: Code("AL-NONE", LOCAL_SCHEME, "No rank"),
}
