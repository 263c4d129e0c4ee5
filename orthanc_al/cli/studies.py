"""Commands about studies: worklist, send, score, reads import, select."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from orthanc_al.cli.common import Json, files_in, of, open_ledger, out, show_json, show_table
from orthanc_al.dicom.sender import send_files
from orthanc_al.domain import Tier
from orthanc_al.errors import ConfigurationError
from orthanc_al.ledger import worklist as listing
from orthanc_al.review.importing import import_reads
from orthanc_al.service import building, offline, running, tables
from orthanc_al.settings import Peer, Settings

read_commands = typer.Typer(no_args_is_help=True, help="Confirmed reads.")
_MANY = 1_000_000


def worklist(
    context: typer.Context,
    json: Json = False,
    modality: Annotated[str, typer.Option(help="Studies of this modality alone.")] = "",
    tier: Annotated[Tier | None, typer.Option(help="Studies of this tier alone.")] = None,
    search: Annotated[str, typer.Option(help="Part of a name, patient ID or accession number.")] = "",
) -> None:
    """Show the worklist in reading order."""
    settings = of(context).settings()
    wanted = listing.Filter(modality=modality, tier=tier, text=search)
    with open_ledger(settings) as ledger, ledger.read() as connection:
        entries = listing.page(connection, wanted, limit=_MANY).entries
    if json:
        show_json([asdict(entry) for entry in entries])
    else:
        tables.show_worklist(out, entries, settings.site.timezone)


def send(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder of DICOM files (and those below it), or one file.")],
    to: Annotated[str, typer.Option(help="Name of a configured peer; else ourselves.")] = "",
    calling: Annotated[str, typer.Option(help="Our AE title in this; else dicom.ae_title.")] = "",
) -> None:
    """Send studies by DICOM, as they are, with a progress bar."""
    settings = of(context).settings()
    paths = files_in(folder)
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=out) as progress:
        task = progress.add_task("Sending", total=len(paths))
        report = send_files(
            paths,
            building.ae(settings, _receiver(settings, to)),
            calling or settings.dicom.ae_title,
            on_progress=lambda _: progress.advance(task),
        )
    tables.show_failures(out, report.failed)
    out.print(f"{report.delivered} of {len(paths)} file(s) acknowledged.")
    if report.failed:
        raise typer.Exit(1)


def _receiver(settings: Settings, name: str) -> Peer:
    if not name:
        return Peer(
            name="orthanc_al",
            ae_title=settings.dicom.ae_title,
            host=settings.dicom.host,
            port=settings.dicom.port,
            roles=(),
        )
    for peer in settings.dicom.peers:
        if peer.name == name:
            return peer
    known = ", ".join(peer.name for peer in settings.dicom.peers) or "none"
    raise ConfigurationError(f"No peer is named {name}; configured are: {known}.")


def score(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder of DICOM files, or one file.")],
    package: Annotated[
        Path | None, typer.Option(help="Model package; else the first that is configured.")
    ] = None,
    json: Json = False,
) -> None:
    """Score files without the service: nothing is stored and nothing is sent."""
    settings = of(context).settings()
    paths = files_in(folder)
    with Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=out,
        disable=json,
    ) as progress:
        task = progress.add_task("Scoring", total=len(paths))
        rows = offline.score_files(settings, paths, package, lambda: progress.advance(task))
    if json:
        show_json([asdict(row) for row in rows])
        return
    show_table(
        "Scores",
        ["file", "finding", "probability", "tier", "why"],
        [
            [
                row.file,
                row.finding,
                "" if row.probability is None else f"{row.probability:.3f}",
                row.tier,
                row.why,
            ]
            for row in rows
        ],
    )


def select(context: typer.Context) -> None:
    """Spend what the day left of the budget: ask for reads of the best remaining studies."""
    settings = of(context).settings()
    with open_ledger(settings) as ledger:
        asked = running.select_now(settings, ledger)
    out.print(f"{asked} more study(ies) will be asked for.")


@read_commands.command("import")
def reads_import(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV or JSON rows (docs/learning.md).")],
) -> None:
    """Take confirmed reads from a file; doing it twice is doing it once."""
    settings = of(context).settings()
    with open_ledger(settings) as ledger:
        report = import_reads(ledger, file)
    for fault in report.faults:
        out.print(f"[yellow]left out:[/] {escape(fault)}", highlight=False)
    out.print(f"{report.taken} read(s) taken, {report.known} known already, {len(report.faults)} left out.")
    if report.faults:
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (worklist, send, score, select):
        app.command()(command)
    app.add_typer(read_commands, name="reads")
