"""What an instance that joins a study makes of the study's row. Pure."""

from typing import Any, Final

from sqlalchemy import RowMapping

from orthanc_al.domain import StudyState
from orthanc_al.domain.header import Header

TWO_PATIENTS: Final = "two patients under one Study Instance UID"
"""See `orthanc_al.ledger.studies`."""

OFF: Final = (StudyState.READ, StudyState.EXPIRED)
"""States of studies that are not on the worklist."""


def new(header: Header, patient_key: str, received_at: float, read_by: int, *, image: bool) -> dict[str, Any]:
    """Return the row of a study whose first instance this is."""
    return {
        "study_instance_uid": header.study_instance_uid,
        "patient_key": patient_key,
        "patient_id": header.patient_id,
        "patient_name": header.patient_name,
        "birth_date": header.birth_date,
        "sex": header.sex,
        "accession_number": header.accession_number,
        "description": header.description,
        "study_date": header.study_date,
        "station": header.station,
        "modality": header.modality,
        "body_part": header.body_part,
        "state": StudyState.ARRIVING.value,
        "revision": int(image),
        "expected_instances": header.expected_instances,
        "arrived_at": received_at,
        "last_received_at": received_at,
        "priority": header.priority,
        "read_by": read_by,
    }


def patient(
    row: RowMapping, header: Header, patient_key: str, key_without_issuer: str, *, image: bool
) -> dict[str, Any]:
    """Return what this instance says of whose study it is.

    Viewers leave the issuer out of the reports that they write: one that is missing contradicts nothing.
    Nor does a report that was filed under the wrong study: it is no read, and the images are one person's.
    """
    if not header.patient_id or row["patient_key"] == patient_key:
        return {}
    if not row["patient_id"] or row["patient_key"] == key_without_issuer:
        return {"patient_key": patient_key}
    same = row["patient_id"] == header.patient_id and not header.issuer
    return {"reason": TWO_PATIENTS} if image and not same else {}


def filled(row: RowMapping, header: Header, *, image: bool) -> dict[str, Any]:
    """Return what this instance adds to the study: values that no earlier one had."""
    names = (
        "patient_id", "patient_name", "birth_date", "sex", "accession_number", "description",
        "study_date", "station", "body_part", "priority", "expected_instances",
    )  # fmt: skip
    changes = {name: getattr(header, name) for name in names if getattr(header, name) and not row[name]}
    if image and (row["revision"] == 0 or not row["modality"]):
        changes["modality"] = header.modality  # the first image names it, not a report that came before
    return {name: value for name, value in changes.items() if value != row[name]}


def reopened(row: RowMapping, received_at: float, read_by: int) -> dict[str, Any]:
    """Return what a new image makes of a study: it is looked at again, and comes back to the worklist."""
    changes: dict[str, Any] = {
        "state": StudyState.ARRIVING.value,
        "revision": row["revision"] + 1,
        "last_received_at": max(row["last_received_at"], received_at),
    }
    if row["reason"] != TWO_PATIENTS:
        changes["reason"] = None
    if StudyState(row["state"]) in OFF:
        changes |= {
            "arrived_at": received_at,
            "read_by": read_by,
            "tier": "none",
            "why": "",
            "closed_at": None,
        }
    return changes
