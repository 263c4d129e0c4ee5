"""What a person has said of a study."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class ReadValue(StrEnum):
    """Presence of a finding."""

    PRESENT = "present"
    ABSENT = "absent"
    UNDETERMINED = "undetermined"


class ReadSource(IntEnum):
    """How a read reached us; the higher one takes precedence over the lower."""

    LABEL = 1
    KEY_OBJECT = 2
    VIEWER_SR = 3
    IMPORTED = 4
    PAGE = 5
    VERIFIED_SR = 6


@dataclass(frozen=True, slots=True)
class ConfirmedRead:
    """One person's statement about one finding of one study.

    Attributes
    ----------
    reader
        Name as given; empty where nobody is named.
    read_at
        Seconds since 1970, UTC.
    reference
        SOP Instance UID of the report, or an identifier of the import row: the same read that comes
        twice is one read.
    """

    study_instance_uid: str
    finding: str
    value: ReadValue
    source: ReadSource
    reader: str
    read_at: float
    reference: str
