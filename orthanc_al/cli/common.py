"""What all commands share: the configuration, the ledger, and the two ways of showing things."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orthanc_al.errors import ConfigurationError
from orthanc_al.ledger import Ledger
from orthanc_al.observe import configure_logging
from orthanc_al.settings import Settings, load

out = Console()
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document, for programs.")]
Actor = Annotated[str, typer.Option("--by", help="Who does it, for the audit trail.", envvar="USER")]

_SYSTEM_FILE: Final = Path("/etc/orthanc-al/orthanc-al.toml")


@dataclass
class Context:
    """What the options before the command said."""

    config: Path | None

    def settings(self) -> Settings:
        """Read the configuration, and set up logs as it says."""
        settings = load(self.config)
        configure_logging(settings.log.level, json=settings.log.json_lines)
        return settings


def config_file(given: Path | None) -> Path | None:
    """Return the configuration file: the option, else ORTHANC_AL_CONFIG, else /etc, else none."""
    if given is not None:
        return given
    if "ORTHANC_AL_CONFIG" in os.environ:
        return Path(os.environ["ORTHANC_AL_CONFIG"])
    return _SYSTEM_FILE if _SYSTEM_FILE.exists() else None


def of(context: typer.Context) -> Context:
    """Return our own object of a typer context."""
    found = context.obj
    if not isinstance(found, Context):
        raise TypeError("a command runs below the application's callback")
    return found


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """Open the ledger that exists (only ``serve`` and ``migrate`` create one), and close it."""
    ledger = Ledger.open(settings.storage.ledger)
    try:
        yield ledger
    finally:
        ledger.close()


def files_in(folder: Path) -> list[Path]:
    """Return the files below a folder, in order; a file stands for itself.

    Raises
    ------
    ConfigurationError
        It is neither, or this user may not look at it.
    """
    try:
        if folder.is_file():
            return [folder]
        if not folder.is_dir():
            raise ConfigurationError(f"{folder} is no folder and no file.")
        return sorted(path for path in folder.rglob("*") if path.is_file())
    except OSError as error:
        raise ConfigurationError(
            f"{folder} can't be looked at ({error.strerror}): give the user of this command the right to "
            "read it."
        ) from error


def show_json(document: Any) -> None:
    """Print a JSON document on the standard output."""
    typer.echo(json.dumps(document, indent=2, default=_plain, ensure_ascii=False))


def _plain(value: object) -> object:
    """Return what JSON has no type for as what it has one for."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; an absent value is an empty cell."""
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    out.print(table)
