"""Commands about learning: retrain, monitor, train-factory."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from orthanc_al.cli.common import Json, of, open_ledger, out, show_json
from orthanc_al.errors import ConfigurationError
from orthanc_al.learn import load_plan
from orthanc_al.ledger import enqueue, models
from orthanc_al.observe import now
from orthanc_al.pipeline import Step
from orthanc_al.service import monitoring, running, tables


def retrain(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name of the model; else all that are configured.")] = "",
    here: Annotated[bool, typer.Option(help="Do it in this process, not in the learner.")] = False,
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Train the whole network first, in this process (needs torch).")
    ] = False,
) -> None:
    """Put tonight's work on the queue now: snapshot, fit, calibrate, judge, and promote or keep."""
    settings = of(context).settings()
    load_plan(settings.learn.pccp)  # its faults are told here, and not by the learner at night
    with open_ledger(settings) as ledger:
        names = [model] if model else running.model_names(settings)
        if not names:
            raise ConfigurationError("No model is configured ([[models]]): there is nothing to learn for.")
        with ledger.write() as connection:
            for name in names:
                models.live(connection, name)
                enqueue(connection, Step.RETRAIN, name, now())
        here = (here or finetune) and running.learn_now(settings, ledger, finetune=finetune, console=out)
    done = "done; see `orthanc-al models show`" if here else "on the learner's queue"
    out.print(f"Retraining of {', '.join(names)} is {done}.")


def monitor(
    context: typer.Context,
    json: Json = False,
    model: Annotated[str, typer.Argument(help="Name of the model; else all that are configured.")] = "",
) -> None:
    """Look at the days that are over: drift, performance on the audit, burden, and the guarantee.

    Exit status 1 where something is wrong enough to look at.
    """
    settings = of(context).settings()
    with open_ledger(settings) as ledger:
        seen = monitoring.look_now(settings, ledger, [model] if model else running.model_names(settings))
    if json:
        show_json([asdict(one) for one in seen])
    else:
        tables.show_monitor(out, seen)
    if any(one.point.alarm for one in seen):
        raise typer.Exit(1)


def train_factory(
    data: Annotated[
        Path, typer.Option(help="Folder with manifest.csv and the radiographs (docs/learning.md).")
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the package that is made.")],
    seed: int = 0,
    work: Annotated[
        Path, typer.Option(help="Checkpoints: an interrupted training goes on from here.")
    ] = Path("var/factory"),
) -> None:
    """Train a model package from nothing (needs the extra "finetune")."""
    from orthanc_al.learn.factory import train_factory as train  # noqa: PLC0415 - torch is an extra

    train(data, folder, seed=seed, work_dir=work, console=out)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(retrain)
    app.command()(monitor)
    app.command("train-factory")(train_factory)
