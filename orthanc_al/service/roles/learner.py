"""The learner: retrains at night, at low priority."""

import os
import threading
from typing import Any, Final

from rich.console import Console

from orthanc_al.learn import Guarantee, RetrainStage, load_plan
from orthanc_al.learn.finetune import fine_tuning
from orthanc_al.ledger import Ledger, Stage, Worker, WorkQueue
from orthanc_al.pipeline import Step
from orthanc_al.service import monitoring, owners
from orthanc_al.settings import Settings

_LEASE: Final = 900.0
_TRAINING_LEASE: Final = 6 * 3600.0  # on a processor; the job of a process that died is taken back at once


def run(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    """Do what retraining is asked for until told to stop."""
    os.nice(10)
    ledger.precedence.give_way()
    stages = stages_of(settings, ledger)
    owners.take_over(ledger, "learner")
    detail.update(state="ready")
    lease = lease_of(finetune=settings.learn.finetune)
    Worker(ledger, WorkQueue(ledger, owners.name("learner"), lease), stages).run(stop)


def lease_of(*, finetune: bool) -> float:
    """Return how long a night's job may take, in seconds, before another process may have it."""
    return _TRAINING_LEASE if finetune else _LEASE


def stages_of(
    settings: Settings, ledger: Ledger, *, finetune: bool = False, console: Console | None = None
) -> dict[Step, Stage]:
    """Return the stage that learns.

    Parameters
    ----------
    finetune
        Train the whole network, as ``learn.finetune`` says for every night.
    console
        For a progress bar.
    """
    triage, learn = settings.triage, settings.learn
    guarantee = Guarantee(triage.miss_rate, triage.false_alarm_rate, triage.delta, triage.groups)
    plan = load_plan(learn.pccp)
    network = None
    if finetune or learn.finetune:
        network = fine_tuning(
            settings.storage.models,
            settings.storage.training_cache,
            guarantee,
            plan,
            factory_data=learn.factory_data,
            console=console,
        )
    return {
        Step.MONITOR: monitoring.stage(settings, ledger),
        Step.RETRAIN: RetrainStage(
            ledger,
            settings.storage.models,
            guarantee,
            plan,
            automatic=learn.promotion == "automatic",
            shown_weight=learn.shown_weight,
            fine_tuning=network,
        ),
    }
