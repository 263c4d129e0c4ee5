"""The worker: from an instance's header to its report, and what comes back."""

import threading
from collections.abc import Collection
from importlib.metadata import version
from typing import Any, Final
from zoneinfo import ZoneInfo

from orthanc_al.assemble import ArriveStage, AssembleStage
from orthanc_al.inference import Models
from orthanc_al.learn import load_plan
from orthanc_al.ledger import Ledger, Stage, Worker, WorkQueue, facts
from orthanc_al.pipeline import SCORING_STEPS, Step
from orthanc_al.report import MirrorStage, ReportStage
from orthanc_al.review import ReviewStage
from orthanc_al.score import ScoreImageStage, Scorer, ScoreStage
from orthanc_al.select import SelectStage
from orthanc_al.service import building, housekeeping, modelling, owners
from orthanc_al.settings import Settings
from orthanc_al.triage import TriageStage

_LEASE: Final = 300.0
_WORKERS: Final = 2


def run(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    """Do the queue's work but learning until told to stop."""
    running = modelling.running(settings)
    detail["provider"] = modelling.warm_up(settings, ledger, running)
    stages = stages_of(settings, ledger, running)
    detail["state"] = "ready"

    def held_back() -> Collection[Step]:
        with ledger.read() as connection:
            return SCORING_STEPS if facts.scoring_paused(connection) else frozenset()

    def work(number: int) -> None:
        queue = WorkQueue(ledger, owners.name("worker", number), _LEASE)
        Worker(ledger, queue, stages, held_back).run(stop)

    owners.take_over(ledger, "worker")
    crew = [threading.Thread(target=work, args=(n,), name=f"worker-{n}") for n in range(_WORKERS)]
    crew += [
        threading.Thread(target=chore, args=(settings, ledger, stop), name=chore.__name__)
        for chore in (housekeeping.keep_spool, housekeeping.watch_labels)
    ]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()


def stages_of(settings: Settings, ledger: Ledger, running: Models) -> dict[Step, Stage]:
    """Return the stages from an instance's header to its report, and of what comes back."""
    files, zone, times = (
        building.spool(settings),
        ZoneInfo(settings.site.timezone),
        modelling.targets(settings),
    )
    scorer = Scorer(ledger, files, running, modelling.uses(settings))
    return {
        Step.ARRIVE: ArriveStage(ledger, files, times),
        Step.SCORE_IMAGE: ScoreImageStage(ledger, scorer),
        Step.ASSEMBLE: AssembleStage(ledger, settings.assemble.quiet_seconds),
        Step.SCORE: ScoreStage(ledger, scorer, times),
        Step.TRIAGE: TriageStage(ledger, running, times, load_plan(settings.learn.pccp).audit.rule),
        Step.SELECT: SelectStage(ledger, modelling.budget(settings)),
        Step.REPORT: ReportStage(
            ledger,
            files,
            ae_title=settings.dicom.ae_title,
            peers=building.names(settings, "results"),
            sr=settings.report.sr,
            timezone=zone,
            software_version=version("orthanc-al"),
        ),
        Step.MIRROR: MirrorStage(ledger, building.orthanc(settings) if settings.orthanc.mirror else None),
        Step.REVIEW: ReviewStage(ledger, files, timezone=zone, trust_unnamed=settings.review.trust_unnamed),
    }
