"""The worker: from an instance's header to its report, and what comes back."""

import math
import threading
import time
from collections.abc import Collection, Sequence
from importlib.metadata import version
from typing import Any, Final
from zoneinfo import ZoneInfo

from orthanc_al.assemble import ArriveStage, AssembleStage
from orthanc_al.errors import ModelError
from orthanc_al.inference import Models
from orthanc_al.learn import load_plan
from orthanc_al.ledger import Ledger, Stage, Worker, WorkQueue, facts
from orthanc_al.observe import logger
from orthanc_al.pipeline import SCORING_STEPS, Step
from orthanc_al.report import MirrorStage, ReportStage, SignStage
from orthanc_al.report.activation import Activations
from orthanc_al.review import ReviewStage
from orthanc_al.review.vocabulary import known_findings
from orthanc_al.score import ModelUse, ScoreImageStage, Scorer, ScoreStage, ShadowStage
from orthanc_al.select import SelectStage
from orthanc_al.service import building, housekeeping, modelling, owners
from orthanc_al.settings import Settings
from orthanc_al.triage import TriageStage

_LEASE: Final = 300.0
_WORKERS: Final = 2
_LOOK_AGAIN_SECONDS: Final = 30.0
_log = logger("service")


def run(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    """Do the queue's work but learning until told to stop."""
    owners.take_over(ledger, "worker")
    chores = [
        threading.Thread(target=chore, args=(settings, ledger, stop), name=chore.__name__)
        for chore in (housekeeping.keep_spool, housekeeping.watch_labels, housekeeping.count_at_sources)
    ]
    for thread in chores:
        thread.start()
    try:
        while not stop.is_set():
            _do_a_shift(settings, ledger, stop, detail)
    finally:
        stop.set()  # a worker that ended by a slip ends the process: the supervisor starts a whole one
        for thread in chores:
            thread.join()


def _do_a_shift(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    """Work until told to stop; without the scoring steps while a model package does not hold.

    Headers are read, studies assembled and reads taken all the same: what waits for a model stays on the
    queue, so that a package that is mended finds its studies there.
    """
    running = modelling.running(settings)
    trouble = _trouble(settings, ledger, running, detail)
    stages = stages_of(settings, ledger, running, () if trouble else modelling.uses(settings))
    detail["state"] = f"does not score: {trouble}" if trouble else "ready"

    over = threading.Event()

    def held_back() -> Collection[Step]:
        return SCORING_STEPS if trouble or _paused(ledger) else frozenset()

    def work(number: int) -> None:
        queue = WorkQueue(ledger, owners.name("worker", number), _LEASE)
        Worker(ledger, queue, stages, held_back).run(over)

    crew = [threading.Thread(target=work, args=(n,), name=f"worker-{n}") for n in range(_WORKERS)]
    for thread in crew:
        thread.start()
    look_again = time.monotonic() + (_LOOK_AGAIN_SECONDS if trouble else math.inf)
    while time.monotonic() < look_again and all(thread.is_alive() for thread in crew):
        if stop.wait(0.2):
            break
    if not trouble:
        stop.set()
    over.set()
    for thread in crew:
        thread.join()


def _paused(ledger: Ledger) -> bool:
    with ledger.read() as connection:
        return facts.scoring_paused(connection)


def _trouble(settings: Settings, ledger: Ledger, running: Models, detail: dict[str, Any]) -> str | None:
    """Return why nothing can be scored, None where all models are loaded."""
    try:
        faults = modelling.install(settings, ledger)
        if not faults:
            detail["provider"] = modelling.warm_up(settings, ledger, running)
    except (ModelError, OSError) as error:
        _log.error("models_not_loaded", error=str(error))
        faults = [str(error)]
    return "; ".join(faults) or None


def stages_of(
    settings: Settings, ledger: Ledger, running: Models, uses: Sequence[ModelUse]
) -> dict[Step, Stage]:
    """Return the stages from an instance's header to its report, and of what comes back."""
    files, zone, times = (
        building.spool(settings),
        ZoneInfo(settings.site.timezone),
        modelling.targets(settings),
    )
    scorer = Scorer(ledger, files, running, uses)
    return {
        Step.ARRIVE: ArriveStage(ledger, files, times),
        Step.SCORE_IMAGE: ScoreImageStage(ledger, scorer),
        Step.ASSEMBLE: AssembleStage(ledger, settings.assemble.quiet_seconds),
        Step.SCORE: ScoreStage(ledger, scorer, times),
        Step.SHADOW: ShadowStage(ledger, scorer, modelling.running(settings)),
        Step.TRIAGE: TriageStage(
            ledger,
            running,
            times,
            load_plan(settings.learn.pccp).audit.rule,
            groups=settings.triage.groups,
        ),
        Step.SELECT: SelectStage(ledger, modelling.budget(settings)),
        Step.REPORT: ReportStage(
            ledger,
            files,
            ae_title=settings.dicom.ae_title,
            peers=building.names(settings, "results"),
            sr=settings.report.sr,
            timezone=zone,
            software_version=version("orthanc-al"),
            picture=settings.report.picture,
            activations=Activations(running),
        ),
        Step.MIRROR: MirrorStage(ledger, building.orthanc(settings) if settings.orthanc.mirror else None),
        Step.REVIEW: ReviewStage(ledger, files, timezone=zone, trust_unnamed=settings.review.trust_unnamed),
        Step.SIGN: SignStage(
            ledger,
            files,
            ae_title=settings.dicom.ae_title,
            peers=building.names(settings, "results"),
            organization=settings.site.name,
            timezone=zone,
            software_version=version("orthanc-al"),
            findings=known_findings,
        ),
    }
