"""`orthanc-al forget`: a person is removed from ledger, training cache and, where delivered, spool."""

from orthanc_al.domain import patient_key
from orthanc_al.errors import ConfigurationError
from orthanc_al.ledger import Ledger, facts, patients, trail, training_cache
from orthanc_al.settings import Settings


def forget(settings: Settings, ledger: Ledger, patient_id: str, issuer: str, actor: str) -> dict[str, int]:
    """Remove a person and return what was removed, by kind.

    The audit trail keeps that a removal was made and by whom, not of whom.

    Raises
    ------
    ConfigurationError
        No patient ID is given: all whose studies have none would be removed as one person.
    """
    if not patient_id.strip():
        raise ConfigurationError("Give a patient ID: studies without one are not known to be of one person.")
    with ledger.write() as connection:
        key = patients.resolve(connection, patient_key(facts.patient_salt(connection), patient_id, issuer))
        gone = training_cache.forget(connection, key)
        trail.record(connection, actor, "patient_forgotten", "patient", studies=gone.studies)
    # Rows first: a file that is left behind by a crash here belongs to nobody any more.
    for name in gone.files:
        (settings.storage.training_cache / name).unlink(missing_ok=True)
    counted = {
        "study(ies)": gone.studies,
        "read(s)": gone.reads,
        "prediction(s)": gone.predictions,
        "draw(s)": gone.selections,
        "cached input(s)": len(gone.files),
        f"file(s) in the spool, kept {settings.storage.keep_days:g} days": gone.spooled,
    }
    return {what: number for what, number in counted.items() if number}
