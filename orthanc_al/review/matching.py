"""Which study a report is about, also where a PACS gave the images other UIDs than they came with.

In this order: an image that it refers to; the Study Instance UID from before the change, where the report
carries it (Original Attributes Sequence, PS3.3 C.12.1.1.9.1); the accession number, of the same patient. The
latter two only where none of its images is known at all, and only where they lead to one study.
"""

from sqlalchemy import Connection

from orthanc_al.errors import ReadError
from orthanc_al.ledger import instances, studies
from orthanc_al.review.parse import ParsedRead


def study_of(connection: Connection, parsed: ParsedRead, patient_id: str) -> str:
    """Return the study whose images a report refers to; its own Study Instance UID goes first.

    Parameters
    ----------
    patient_id
        That the report names.

    Raises
    ------
    ReadError
        It leads to no study that we know, or to several.
    """
    own = {
        known.instance.sop_instance_uid for known in instances.of_study(connection, parsed.study_instance_uid)
    }
    if studies.get(connection, parsed.study_instance_uid) is not None and own & parsed.images:
        return parsed.study_instance_uid
    found: set[str] = set()
    for image in sorted(parsed.images):
        found |= _studies_of_sop(connection, image)
    found = found or _by_original(connection, parsed) or _by_order(connection, parsed, patient_id)
    if len(found) != 1:
        raise ReadError("refers to no image that is known, or to images of several studies")
    return found.pop()


def _by_original(connection: Connection, parsed: ParsedRead) -> set[str]:
    return {uid for uid in parsed.original_studies if _has_images(connection, uid)}


def _by_order(connection: Connection, parsed: ParsedRead, patient_id: str) -> set[str]:
    """Return the studies of its accession number; whose it is must be said, since numbers come again."""
    if not (parsed.accession_number and patient_id):
        return set()
    return {
        study.study_instance_uid
        for study in studies.of_accession(connection, parsed.accession_number)
        if studies.patient_id(connection, study.study_instance_uid) == patient_id
        and _has_images(connection, study.study_instance_uid)
    }


def _has_images(connection: Connection, study_instance_uid: str) -> bool:
    return any(known.kind == "image" for known in instances.of_study(connection, study_instance_uid))


def _studies_of_sop(connection: Connection, sop_instance_uid: str) -> set[str]:
    return {
        one.instance.study_instance_uid
        for one in instances.of_sop(connection, sop_instance_uid)
        if one.kind == "image" and one.instance.study_instance_uid is not None
    }
