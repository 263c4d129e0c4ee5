"""The learner: retrains at night, at low priority."""

import os
import threading
from typing import Any, Final

from orthanc_al.learn import Guarantee, RetrainStage, load_plan
from orthanc_al.ledger import Ledger, Stage, Worker, WorkQueue
from orthanc_al.pipeline import Step
from orthanc_al.service import monitoring, owners
from orthanc_al.settings import Settings

LEASE: Final = 900.0


def run(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    """Do what retraining is asked for until told to stop."""
    os.nice(10)
    stages = stages_of(settings, ledger)
    owners.take_over(ledger, "learner")
    detail.update(state="ready")
    Worker(ledger, WorkQueue(ledger, owners.name("learner"), LEASE), stages).run(stop)


def stages_of(settings: Settings, ledger: Ledger) -> dict[Step, Stage]:
    """Return the stage that learns."""
    triage = settings.triage
    return {
        Step.MONITOR: monitoring.stage(settings, ledger),
        Step.RETRAIN: RetrainStage(
            ledger,
            settings.storage.models,
            Guarantee(triage.miss_rate, triage.false_alarm_rate, triage.delta, triage.groups),
            load_plan(settings.learn.pccp),
            automatic=settings.learn.promotion == "automatic",
            shown_weight=settings.learn.shown_weight,
        ),
    }
