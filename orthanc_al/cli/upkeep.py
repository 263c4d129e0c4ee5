"""Commands that keep the service in order: migrate, requeue, backup, forget, config check."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from orthanc_al.cli.common import Actor, of, open_ledger, out
from orthanc_al.errors import ConfigurationError, StorageError
from orthanc_al.learn import load_plan
from orthanc_al.ledger import Ledger, deliveries, promises, trail, waiting
from orthanc_al.service import forgetting, merging
from orthanc_al.settings import Settings

config_commands = typer.Typer(no_args_is_help=True, help="The configuration.")


def migrate(context: typer.Context) -> None:
    """Create the ledger, or bring its schema up to date."""
    settings = of(context).settings()
    ledger = Ledger.create(settings.storage.ledger)
    out.print(f"The ledger has schema {ledger.revision()}.")
    ledger.close()


def requeue(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(help="Study or instance; else everything quarantined.")] = "",
    destination: Annotated[str, typer.Option(help="Also try refused deliveries to this peer again.")] = "",
    by: Actor = "unknown",
) -> None:
    """Give quarantined work, what was left behind, and refused deliveries another try."""
    settings = of(context).settings()
    if destination:
        _check_peer(settings, destination)
    with open_ledger(settings) as ledger, ledger.write() as connection:
        jobs = waiting.requeue(connection, subject or None) + promises.take_up(connection, subject or None)
        wanted = destination or subject
        sent = deliveries.try_again(connection, destination or None, subject or None) if wanted else 0
        trail.record(connection, by, "work_requeued", subject or "all", jobs=jobs, deliveries=sent)
    out.print(f"{jobs} job(s) and {sent} refused delivery(ies) will be tried again.")


def cancel(
    context: typer.Context,
    destination: Annotated[str, typer.Argument(help="A peer's name, also of one that is gone.")],
    subject: Annotated[str, typer.Argument(help="Study or instance; else all that waits for it.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    by: Actor = "unknown",
) -> None:
    """Give up deliveries to a peer that wait or were refused; `requeue` takes them up again."""
    if not yes:
        typer.confirm(f"{destination} will never get {subject or 'what waits for it'}. Cancel?", abort=True)
    with open_ledger(of(context).settings()) as ledger, ledger.write() as connection:
        given_up = deliveries.cancel(connection, destination, subject or None, f"cancelled by {by}")
        trail.record(
            connection, by, "deliveries_cancelled", subject or "all", destination=destination, number=given_up
        )
    out.print(f"{given_up} delivery(ies) to {destination} cancelled.")


def _check_peer(settings: Settings, name: str) -> None:
    known = [peer.name for peer in settings.dicom.peers]
    if name not in known:
        raise ConfigurationError(f"No peer is named {name}; configured: {', '.join(known) or 'none'}.")


def backup(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A new folder: gets ledger.sqlite and the model packages.")],
    cache: Annotated[bool, typer.Option("--cache", help="The training cache, too: it may be large.")] = False,
) -> None:
    """Copy what can't be rebuilt, while the service runs: the ledger, and the models that were made here."""
    settings = of(context).settings()
    try:
        _back_up(settings, folder, cache=cache)
    except OSError as error:
        raise StorageError(f"The backup in {folder} is not complete, don't rely on it: {error}") from error
    out.print(f"Backup written to {folder}.")


def _back_up(settings: Settings, folder: Path, *, cache: bool) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise StorageError(f"{folder} is not empty: name a new folder, so that no backup overwrites another.")
    with open_ledger(settings) as ledger:
        folder.mkdir(parents=True, exist_ok=True)
        ledger.backup(folder / "ledger.sqlite")
    if settings.storage.models.is_dir():
        shutil.copytree(settings.storage.models, folder / "models")
    if cache and settings.storage.training_cache.is_dir():
        unfinished = shutil.ignore_patterns("*.part")  # the service may be writing one now
        shutil.copytree(settings.storage.training_cache, folder / "training", ignore=unfinished)


def merge_patients(
    context: typer.Context,
    gone: Annotated[str, typer.Argument(help="Patient ID that is no longer used.")],
    kept: Annotated[str, typer.Argument(help="Patient ID that stays.")],
    gone_issuer: Annotated[str, typer.Option(help="Issuer of the first.")] = "",
    kept_issuer: Annotated[str, typer.Option(help="Issuer of the second.")] = "",
    by: Actor = "unknown",
) -> None:
    """Say that two patient IDs are one person: her reads stay in the split that she first had."""
    with open_ledger(of(context).settings()) as ledger:
        done = merging.merge(ledger, (gone, gone_issuer), (kept, kept_issuer), by)
    out.print(f"{done.studies} study(ies) changed hands; the patient's split: {done.fold or 'none yet'}.")
    if done.left_out:
        out.print(f"What was in the split {done.left_out} under one of the IDs serves for nothing any more.")


def forget(
    context: typer.Context,
    patient: Annotated[str, typer.Argument(help="Patient ID, as in (0010,0020).")],
    issuer: Annotated[str, typer.Option(help="Issuer of Patient ID, where the site uses it.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    by: Actor = "unknown",
) -> None:
    """Remove a person from the ledger, the spool and the training data."""
    if not yes:
        typer.confirm("This can't be undone. Remove this person?", abort=True)
    settings = of(context).settings()
    with open_ledger(settings) as ledger:
        removed = forgetting.forget(settings, ledger, patient, issuer, by)
    out.print(", ".join(f"{count} {what}" for what, count in removed.items()) or "Nothing was known of them.")


@config_commands.command("check")
def config_check(context: typer.Context) -> None:
    """Read the configuration and its plan of changes, and tell all of their faults."""
    load_plan(of(context).settings().learn.pccp)
    out.print(f"The configuration ({of(context).config or 'defaults and environment'}) holds.")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (migrate, requeue, cancel, backup, forget):
        app.command()(command)
    app.command("merge-patients")(merge_patients)
    app.add_typer(config_commands, name="config")
