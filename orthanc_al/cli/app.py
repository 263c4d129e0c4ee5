"""The application: options before the command, and what becomes of an error."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from orthanc_al.cli import learning, models, running, simulating, studies, upkeep
from orthanc_al.cli.common import Context, config_file, err
from orthanc_al.errors import OrthancAlError

app = typer.Typer(
    name="orthanc-al",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A DICOM gateway that scores studies, re-orders the worklist, and learns from confirmed reads.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orthanc-al {version('orthanc-al')}")
        raise typer.Exit


@app.callback()
def _before(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Configuration file; else ORTHANC_AL_CONFIG, else /etc/orthanc-al/orthanc-al.toml."
        ),
    ] = None,
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    context.obj = Context(config_file(config))


for room in (running, studies, models, learning, simulating, upkeep):
    room.add_to(app)


def main() -> None:
    """Run a command; an error that was foreseen is one text for the user and an exit status."""
    try:
        app()
    except OrthancAlError as error:
        err.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)
