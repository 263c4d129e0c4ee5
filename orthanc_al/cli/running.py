"""Commands that run the service: serve, demo, pause, resume, doctor."""

from pathlib import Path
from typing import Annotated

import typer

from orthanc_al.cli.common import Actor, Json, of, open_ledger, out, show_json
from orthanc_al.ledger import facts, trail
from orthanc_al.service import demo as demonstration
from orthanc_al.service import doctor as examination
from orthanc_al.service import roles, running
from orthanc_al.settings import load


def serve(
    context: typer.Context,
    role: Annotated[str, typer.Option(help=f"Run one process alone: {', '.join(roles.ROLES)}.")] = "",
) -> None:
    """Run the service: all processes, or one of them."""
    settings = of(context).settings()
    if role:
        running.serve_role(settings, role)
    else:
        running.serve(settings, of(context).config)


def demo(
    studies: Annotated[
        Path | None, typer.Option(help="Folder of your own studies; else the synthetic demo films.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where the demo keeps its state.")] = Path("var/demo"),
    stop_after: Annotated[bool, typer.Option(help="End after the worklist is printed.")] = False,
) -> None:
    """Start the service with an archive of its own, send it studies, and show the worklist."""
    demonstration.run(folder.resolve(), studies, out, stay=not stop_after)


def pause(context: typer.Context, by: Actor = "unknown") -> None:
    """Stop scoring and all that follows from it; forwarding goes on."""
    _switch(context, by, paused=True)


def resume(context: typer.Context, by: Actor = "unknown") -> None:
    """Go on scoring."""
    _switch(context, by, paused=False)


def _switch(context: typer.Context, by: str, *, paused: bool) -> None:
    with open_ledger(of(context).settings()) as ledger, ledger.write() as connection:
        facts.put(connection, facts.PAUSED, "yes" if paused else "no")
        trail.record(connection, by, "scoring_paused" if paused else "scoring_resumed", "site")
    out.print("Scoring is paused; forwarding goes on." if paused else "Scoring goes on.")


def doctor(context: typer.Context, json: Json = False) -> None:
    """Check that nothing is lost and everything is in its place; exit status 1 where it is not."""
    findings = examination.examine(load(of(context).config))
    if json:
        show_json([finding.as_dict() for finding in findings])
    else:
        for finding in findings:
            out.print(finding.line(), highlight=False)
    if any(finding.is_problem for finding in findings):
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (serve, demo, pause, resume, doctor):
        app.command()(command)
