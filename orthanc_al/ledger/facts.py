"""Single values of a site: the salt, the seed, the pause switch, Orthanc's cursor."""

import secrets
from typing import Final

from sqlalchemy import Connection, bindparam, select

from orthanc_al.ledger.schema import facts
from orthanc_al.ledger.upserts import upsert

PAUSED: Final = "scoring_paused"
CURSOR: Final = "orthanc_changes_cursor"
CLEANED: Final = "spool_cleaned_at"
_SALT: Final = "patient_salt"
_COOKIE_KEY: Final = "web_cookie_key"
SEED: Final = "selection_seed"

# Workers ask before each of their jobs: to make a statement costs more than to run it.
_VALUE: Final = select(facts.c.value).where(facts.c.name == bindparam("of"))


def get(connection: Connection, name: str) -> str | None:
    """Return a value, None where it was never set."""
    found = connection.execute(_VALUE, {"of": name}).scalar_one_or_none()
    return None if found is None else str(found)


def put(connection: Connection, name: str, value: str) -> None:
    """Set a value."""
    upsert(connection, facts, {"name": name, "value": value}, ["name"], ["value"])


def patient_salt(connection: Connection) -> bytes:
    """Return the site's salt for patient keys; made once, never shown."""
    return bytes.fromhex(_once(connection, _SALT))


def selection_seed(connection: Connection) -> str:
    """Return the site's seed for all drawing of studies; made once."""
    return _once(connection, SEED)


def cookie_key(connection: Connection) -> bytes:
    """Return the secret that readers' cookies are signed with; made once, never shown."""
    return bytes.fromhex(_once(connection, _COOKIE_KEY))


def scoring_paused(connection: Connection) -> bool:
    """Whether `orthanc-al pause` has stopped scoring and all that follows from it."""
    return get(connection, PAUSED) == "yes"


def _once(connection: Connection, name: str) -> str:
    made = get(connection, name)
    if made is not None:
        return made
    upsert(connection, facts, {"name": name, "value": secrets.token_hex(32)}, ["name"])
    return str(connection.execute(_VALUE, {"of": name}).scalar_one())
