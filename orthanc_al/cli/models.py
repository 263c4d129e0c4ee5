"""Commands about model packages: models list, show, promote, rollback, fp16."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from orthanc_al.cli.common import Actor, Json, files_in, of, open_ledger, out, show_json, show_table
from orthanc_al.domain.change_page import page
from orthanc_al.errors import ModelError
from orthanc_al.ledger import learning, models, shadow
from orthanc_al.observe import now
from orthanc_al.service import promotion, tables, variants

model_commands = typer.Typer(no_args_is_help=True, help="Model packages: which there are, and which is live.")


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


@model_commands.command("list")
def list_models(context: typer.Context, json: Json = False) -> None:
    """List all model packages that the ledger knows."""
    with open_ledger(of(context).settings()) as ledger, ledger.read() as connection:
        known = models.versions(connection)
        live = {name: models.champion(connection, name) for name in {model.ref.name for model in known}}
    champions = {model.ref.digest for model in live.values() if model is not None}
    rows = [
        {
            "name": model.ref.name,
            "version": model.ref.version,
            "digest": model.ref.digest,
            "origin": model.origin,
            "state": "live" if model.ref.digest in champions else model.state,
            "made": _when(model.created_at),
        }
        for model in known
    ]
    if json:
        show_json(rows)
    else:
        show_table(
            "Model packages",
            ["name", "version", "digest", "origin", "state", "made (UTC)"],
            [
                [
                    *(row[k] for k in ("name", "version")),
                    row["digest"][:12],
                    row["origin"],
                    row["state"],
                    row["made"],
                ]
                for row in rows
            ],
        )


@model_commands.command()
def show(
    context: typer.Context,
    name: str,
    version: str = typer.Argument(""),
    record: Annotated[bool, typer.Option("--record", help="The newest change record, as Markdown.")] = False,
    json: Json = False,
) -> None:
    """Show a package, its history and its gate verdicts; the live one where no version is named."""
    with open_ledger(of(context).settings()) as ledger, ledger.read() as connection:
        model = models.find(connection, name, version) if version else models.champion(connection, name)
        if model is None:
            raise ModelError(f"There is no package {name} {version}".rstrip() + "; see `models list`.")
        history = models.history(connection, name)
        records = learning.change_records(connection, name)
        seen = shadow.seen_by(connection, model.ref.digest)
    if json:
        found = {"model": model, "history": history, "shadow": seen.as_dict(), "change_records": records}
        show_json(found)
        return
    if record:
        own = [r for r in records if not version or r["content"]["candidate_version"] == model.ref.version]
        typer.echo(page(own[0]["content"]) if own else f"No change record of {name} {version}.".rstrip())
        return
    out.print(f"[bold]{model.ref}[/]  {model.origin}, {model.state}\nin {model.folder}", highlight=False)
    if seen.studies or seen.failures:
        out.print(f"beside the champion: {seen}", highlight=False)
    show_table(
        "History (newest first)",
        ["when (UTC)", "what", "version of digest", "by", "reason"],
        [[_when(h.at), h.kind, h.digest[:12], h.approver, h.reason] for h in history],
    )
    show_table(
        "Gate (newest first)",
        ["when (UTC)", "candidate", "verdict"],
        [[_when(r["at"]), (r["candidate"] or "")[:12], r["verdict"]] for r in records],
    )


@model_commands.command()
def promote(
    context: typer.Context,
    name: str,
    version: str,
    reason: Annotated[str, typer.Option(help="Why; it stays in the record.")],
    by: Actor = "unknown",
) -> None:
    """Let a package go live; workers take it up with the next study."""
    settings = of(context).settings()
    with open_ledger(settings) as ledger:
        model = promotion.promote(settings, ledger, name, version, approver=by, reason=reason)
    out.print(f"{model.ref} is live since {_when(now())} UTC.", highlight=False)


@model_commands.command()
def rollback(
    context: typer.Context,
    name: str,
    reason: Annotated[str, typer.Option(help="Why; it stays in the record.")],
    by: Actor = "unknown",
) -> None:
    """Go back to the package that was live before: head, calibrator and thresholds as one."""
    with open_ledger(of(context).settings()) as ledger:
        model = promotion.roll_back(ledger, name, approver=by, reason=reason)
    out.print(f"{model.ref} is live again.", highlight=False)


@model_commands.command()
def fp16(
    context: typer.Context,
    name: str,
    version: str = typer.Argument(""),
    films: Annotated[
        Path | None,
        typer.Option(help="Folder of DICOM files to compare on; else the images of the training cache."),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Make it although there is no GPU here, which alone gains by it.")
    ] = False,
    by: Actor = "unknown",
    json: Json = False,
) -> None:
    """Make the variant in half precision of a package (the live one), for GPUs, after the parity test.

    It becomes a candidate: `models promote` lets it go live, as far as the plan of changes lets it.
    """
    settings = of(context).settings()
    paths = None if films is None else files_in(films)
    with open_ledger(settings) as ledger:
        variant = variants.compare(settings, ledger, name, version, paths)
        figures = variant.figures
        made = None if figures.on_cpu and not anyway else variants.keep(settings, ledger, variant, by=by)
    if json:
        show_json({"parent": variant.parent.ref, "figures": asdict(figures), "made": made})
        return
    tables.show_variant(out, figures)
    if made is None:
        out.print("There is no GPU here, so that nothing was made; --anyway makes it for one elsewhere.")
    else:
        out.print(f"{made.ref} is a candidate, in {made.folder}.", highlight=False, soft_wrap=True)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(model_commands, name="models")
