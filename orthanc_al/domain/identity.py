"""Identifiers that are computed, so that doing a thing twice makes one thing."""

import hashlib
import hmac
import uuid
from typing import Final

# What made a file or asks for an association (PS3.7 D.3.3.2); drawn once as a random UUID (PS3.5 B.2).
IMPLEMENTATION_CLASS_UID: Final = "2.25.141586123350697234988946153623774361799"


def derived_uid(*parts: str) -> str:
    """Return the UID that always belongs to ``parts`` (PS3.5 B.2: 2.25 and a UUID as an integer).

    Promise 8: the SOP Instance UID of an object of ours derives from what it is about, so that a
    stage that runs twice sends the same object twice and never two objects.

    Parameters
    ----------
    *parts
        For a report: study, digest of its set of instances, digest of the model package, kind.

    Returns
    -------
    str
        At most 44 characters.
    """
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def patient_key(salt: bytes, patient_id: str, issuer: str = "") -> str:
    """Return the salted hash that a patient is known by in splits, caches and data sets.

    Parameters
    ----------
    salt
        The site's secret; it lives in the ledger alone.
    patient_id, issuer
        (0010,0020) and (0010,0021), stripped of the padding that PS3.5 6.2 allows.
    """
    text = f"{patient_id.strip()}\x1f{issuer.strip()}".encode()
    return hmac.new(salt, text, hashlib.sha256).hexdigest()[:32]
