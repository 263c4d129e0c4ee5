"""What the header of an instance says, as plain values."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Header:
    """The attributes of a data set that the way of a study depends on.

    Text is decoded, stripped and cut to what the ledger holds; what is missing or can't be read is
    empty. ``patient_name`` and the like are for the worklist page and never logged.

    Attributes
    ----------
    study_instance_uid, series_instance_uid, sop_class_uid, sop_instance_uid
        Never empty, but for the series.
    issuer
        Issuer of Patient ID (0010,0021).
    image_type
        Values of (0008,0008).
    priority
        ``STAT``, ``HIGH`` or empty, from the order.
    expected_instances
        How many instances the study has, where the sender says so; None where not.
    pixels
        Whether it describes an image: Rows and Columns are above 0.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    modality: str = ""
    manufacturer: str = ""
    patient_id: str = ""
    issuer: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    accession_number: str = ""
    description: str = ""
    study_date: str = ""
    station: str = ""
    body_part: str = ""
    image_type: tuple[str, ...] = ()
    priority: str = ""
    expected_instances: int | None = None
    pixels: bool = False
