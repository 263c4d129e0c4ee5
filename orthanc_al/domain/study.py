"""Studies and instances as the ledger knows them."""

from dataclasses import dataclass
from enum import StrEnum


class StudyState(StrEnum):
    """Where a study is on its way.

    ``read`` and ``expired`` studies are off the worklist; new images bring them back.
    """

    ARRIVING = "arriving"
    COMPLETE = "complete"
    SCORED = "scored"
    INELIGIBLE = "ineligible"
    READ = "read"
    EXPIRED = "expired"

    @property
    def on_worklist(self) -> bool:
        """Whether somebody still has to read it."""
        return self not in (StudyState.READ, StudyState.EXPIRED)


@dataclass(frozen=True, slots=True)
class Instance:
    """One receive event: a file in the spool, and what its header says.

    Attributes
    ----------
    id
        Fresh for each receive event, and the name of its spool file. Never the SOP Instance UID,
        since two sources may share one.
    sop_class_uid, sop_instance_uid, transfer_syntax_uid
        From the C-STORE request and its presentation context.
    study_instance_uid, series_instance_uid, modality
        From the data set, None until it has been looked at.
    sha256
        Of the data set's bytes, None until it has been looked at.
    size
        Bytes of the data set.
    received_at
        Seconds since 1970, UTC.
    """

    id: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    size: int
    received_at: float
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    modality: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """A study and its place on the worklist.

    Attributes
    ----------
    revision
        Counts the distinct instances that came; a result belongs to one revision.
    arrived_at, last_received_at
        Seconds since 1970, UTC.
    read_by
        Minutes since 1970, UTC: the worklist's order.
    reason
        Why it is not scored, where it is not.
    """

    study_instance_uid: str
    patient_key: str
    modality: str
    state: StudyState
    revision: int
    arrived_at: float
    last_received_at: float
    read_by: int
    reason: str | None = None
