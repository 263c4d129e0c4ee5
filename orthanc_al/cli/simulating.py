"""The command simulate: minutes saved, for whom, and at whose cost."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from orthanc_al.cli.common import Json, err, of, out, show_json, show_table
from orthanc_al.ledger import Ledger
from orthanc_al.service import simulating
from orthanc_al.settings import Settings
from orthanc_al.simulate import Answer, Estimate, Line, Rule

_COLUMNS = ("who", "a day", "before", "after", "saved (95 %)", "late before", "late after")


def simulate(
    context: typer.Context,
    rule: Annotated[Rule, typer.Option(help="Who is read next.")] = Rule.READ_BY,
    finding: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=PREVALENCE,SENSITIVITY,SPECIFICITY; again for the next in the hierarchy. "
            "Else as the audit shows."
        ),
    ] = None,
    flat: Annotated[
        bool, typer.Option("--flat", help="A flag is a flag: findings have no hierarchy.")
    ] = False,
    per_day: Annotated[float | None, typer.Option(min=0.001, help="Studies a day; else the site's.")] = None,
    reading_minutes: Annotated[
        float | None, typer.Option(min=0.001, help="Mean reading time; else the site's.")
    ] = None,
    readers: Annotated[int | None, typer.Option(min=1, help="Who read at a time; else as they sign.")] = None,
    days: Annotated[int, typer.Option(min=1, help="Simulated in each run.")] = 14,
    runs: Annotated[int, typer.Option(min=2, help="Independent runs, for the intervals.")] = 20,
    seed: int = 0,
    history_days: Annotated[int, typer.Option(min=1, help="How far back the ledger is looked at.")] = 28,
    folder: Annotated[Path | None, typer.Option("--plots", help="Folder for plots (SVG).")] = None,
    json: Json = False,
) -> None:
    """Ask the simulator what re-ordering saves those with a finding, and costs the others."""
    settings = of(context).settings()
    room = simulating.Room(
        findings=tuple(simulating.finding_point(text) for text in finding or ()),
        hierarchical=not flat,
        per_day=per_day,
        reading_minutes=reading_minutes,
        readers=readers,
        history_days=history_days,
    )
    setup = _setup(settings, room)
    with Progress(*Progress.get_default_columns(), console=err, transient=True) as progress:
        task = progress.add_task("Simulating", total=runs)
        said = simulating.ask(
            setup, rule, days=days, runs=runs, seed=seed, on_run=lambda: progress.advance(task)
        )
    closed_form = simulating.theory(setup, room, rule)
    if json:
        show_json(simulating.document(said, setup, closed_form))
    else:
        _show(said, setup, closed_form)
    if folder is not None:
        for path in simulating.draw(said, folder):
            err.print(f"Wrote {path}", highlight=False)


def _setup(settings: Settings, room: simulating.Room) -> simulating.Setup:
    """Open the ledger only where it is asked: a room that is described whole needs none."""
    if room.findings and room.per_day and room.reading_minutes and room.readers:
        return simulating.setup(settings, None, room)
    ledger = Ledger.open(settings.storage.ledger)
    try:
        return simulating.setup(settings, ledger, room)
    finally:
        ledger.close()


def _show(said: Answer, setup: simulating.Setup, closed_form: dict[str, float]) -> None:
    for source in setup.sources:
        out.print(source, highlight=False)
    out.print(
        f"{said.runs} runs of {said.days} days, {said.readers} reader(s) busy {said.utilisation:.0%} of the "
        "time. Minutes from arrival to the signed read, without the reading time.\n",
        highlight=False,
    )
    if said.utilisation >= 0.98:
        out.print("[bold]The readers can't keep up: all waits grow with the days simulated.[/]\n")
    show_table(f"By rule {said.rule.value}, against order of arrival", _COLUMNS, [*map(_row, said.groups)])
    show_table("By tier", _COLUMNS, [_row(line) for line in said.tiers if line.studies])
    hours = [
        (
            hour.who,
            *(
                f"{lines[number].saved.value:+.1f}" if lines[number].studies else ""
                for lines in said.hours.values()
            ),
        )
        for number, hour in enumerate(next(iter(said.hours.values())))
    ]
    show_table("Minutes saved by hour of arrival", ("hour", *said.hours), hours)
    if closed_form:
        told = ", ".join(f"{who} {saved:+.3f}" for who, saved in closed_form.items())
        out.print(f"Saved by the closed form: {told}", highlight=False)


def _row(line: Line) -> tuple[str, ...]:
    return (
        line.who,
        f"{line.studies:.1f}",
        f"{line.before.value:.1f}",
        f"{line.after.value:.1f}",
        _interval(line.saved),
        f"{line.late_before.value:.1%}",
        f"{line.late_after.value:.1%}",
    )


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:+.1f} ({estimate.low:+.1f} to {estimate.high:+.1f})"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(simulate)
