"""`orthanc-al merge-patients`: two IDs turned out to be one person."""

from orthanc_al.domain import patient_key
from orthanc_al.errors import ConfigurationError
from orthanc_al.ledger import Ledger, facts, patients, trail
from orthanc_al.ledger.patients import Merged
from orthanc_al.observe import now


def merge(ledger: Ledger, gone: tuple[str, str], kept: tuple[str, str], actor: str) -> Merged:
    """Make two patients one; the audit trail keeps that it was done and by whom, not of whom.

    Parameters
    ----------
    gone, kept
        Patient ID and its issuer (empty where the site uses none): the ID that is no longer used, and the
        one that stays.

    Raises
    ------
    ConfigurationError
        Both are the same, or one is empty.
    """
    if not gone[0].strip() or not kept[0].strip():
        raise ConfigurationError(
            "Give two patient IDs: studies without one are not known to be of one person."
        )
    if gone == kept:
        raise ConfigurationError("Both are the same patient ID: give the one that is no longer used first.")
    with ledger.write() as connection:
        salt = facts.patient_salt(connection)
        merged = patients.merge(connection, patient_key(salt, *gone), patient_key(salt, *kept), now())
        trail.record(connection, actor, "patients_merged", "patient", studies=merged.studies)
    return merged
