"""The ledger's schema: which one this program needs, and how a ledger is brought up to it (Alembic)."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orthanc_al.errors import LedgerError

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS: Final = Path(__file__).parent / "migrations"


def upgrade(url: str) -> None:
    """Bring the schema up to date; Alembic is for this alone, so that only who does it loads it."""
    from alembic import command  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    try:
        command.upgrade(config(url), "head")
    except CommandError as error:  # it does not know the schema that it finds
        raise LedgerError(
            f"A newer program wrote this ledger ({error}): install that version, or restore a backup."
        ) from error


def config(url: str) -> "Config":
    """Return what Alembic is to know of a ledger."""
    from alembic.config import Config  # noqa: PLC0415

    made = Config()
    made.set_main_option("script_location", str(_MIGRATIONS))
    made.attributes["url"] = url
    return made


@cache
def head() -> str:
    """Return the revision that this program's migrations lead to: they are numbered, one after the other."""
    return max(path.name[:4] for path in _MIGRATIONS.glob("versions/[0-9]*.py"))


__all__ = ["config", "head", "upgrade"]
