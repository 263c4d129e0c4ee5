"""The worker: from an instance's header to its report, and what comes back."""

import math
import os
import sys
import threading
import time
from collections.abc import Collection, Sequence
from importlib.metadata import version
from typing import Any, Final
from zoneinfo import ZoneInfo

from orthanc_al.assemble import ArriveStage, AssembleStage
from orthanc_al.inference import Models
from orthanc_al.learn import load_plan
from orthanc_al.ledger import Ledger, Stage, Worker, WorkQueue, facts
from orthanc_al.pipeline import SCORING_STEPS, Step
from orthanc_al.report import MirrorStage, ReportStage, SignStage
from orthanc_al.report.activation import Activations
from orthanc_al.review import ReviewStage
from orthanc_al.review.vocabulary import known_findings
from orthanc_al.score import Champions, ModelUse, ScoreImageStage, ScoreStage, ShadowStage
from orthanc_al.select import SelectStage
from orthanc_al.service import building, housekeeping, modelling, owners
from orthanc_al.settings import Settings
from orthanc_al.triage import TriageStage

_LEASE: Final = 300.0
# One more than there are cores: while one waits for the disk, the others have them.
_WORKERS: Final = min((os.cpu_count() or 1) + 1, 17)
_LOOK_AGAIN_SECONDS: Final = 30.0
# Scoring takes every core that there is: the wire comes before it, and the learner (10) after it.
_NICENESS: Final = 5
# One that writes into the ledger gives the interpreter away with each statement, and holds the lock meanwhile
# that the listener waits for: it waits so long for one that computes (5 ms by default) to get it back.
_SWITCH_SECONDS: Final = 0.0005


def run(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    """Do the queue's work but learning until told to stop."""
    os.nice(_NICENESS)
    sys.setswitchinterval(_SWITCH_SECONDS)
    ledger.precedence.give_way()
    owners.take_over(ledger, "worker")
    chores = [
        threading.Thread(target=chore, args=(settings, ledger, stop), name=chore.__name__)
        for chore in (housekeeping.keep_spool, housekeeping.watch_labels, housekeeping.count_at_sources)
    ]
    for thread in chores:
        thread.start()
    running = modelling.running(settings)
    try:
        while not stop.is_set():
            _do_a_shift(settings, ledger, running, stop, detail)
    finally:
        stop.set()  # a worker that ended by a slip ends the process: the supervisor starts a whole one
        for thread in chores:
            thread.join()


def _do_a_shift(
    settings: Settings, ledger: Ledger, running: Models, stop: threading.Event, detail: dict[str, Any]
) -> None:
    """Work until told to stop; where a model package does not hold, look again after a while.

    Its studies wait on the queue, so that a package that is mended finds them there. Where none holds, no
    scoring step is done at all. Headers are read, studies assembled and reads taken all the same.
    """
    uses = modelling.uses(settings, ledger, running)
    faults = [use.fault for use in uses if use.fault]
    idle = bool(faults) and len(faults) == len(uses)
    stages = stages_of(settings, ledger, running, uses)
    how = "does not score" if idle else "scores, but not by all models"
    detail["state"] = f"{how}: {'; '.join(dict.fromkeys(faults))}" if faults else "ready"

    over = threading.Event()

    def held_back() -> Collection[Step]:
        return SCORING_STEPS if idle or _paused(ledger) else frozenset()

    def work(number: int) -> None:
        queue = WorkQueue(ledger, owners.name("worker", number), _LEASE)
        Worker(ledger, queue, stages, held_back).run(over)

    crew = [threading.Thread(target=work, args=(n,), name=f"worker-{n}") for n in range(_WORKERS)]
    for thread in crew:
        thread.start()
    look_again = time.monotonic() + (_LOOK_AGAIN_SECONDS if faults else math.inf)
    while time.monotonic() < look_again and all(thread.is_alive() for thread in crew):
        detail["provider"] = modelling.providers(running)
        if stop.wait(0.2):
            break
    if not faults:
        stop.set()
    over.set()
    for thread in crew:
        thread.join()


def _paused(ledger: Ledger) -> bool:
    with ledger.read() as connection:
        return facts.scoring_paused(connection)


def stages_of(
    settings: Settings, ledger: Ledger, running: Models, uses: Sequence[ModelUse]
) -> dict[Step, Stage]:
    """Return the stages from an instance's header to its report, and of what comes back."""
    files, zone, times = (
        building.spool(settings),
        ZoneInfo(settings.site.timezone),
        modelling.targets(settings),
    )
    scorer = Champions(ledger, files, running, uses)
    return {
        Step.ARRIVE: ArriveStage(ledger, files, times),
        Step.SCORE_IMAGE: ScoreImageStage(ledger, scorer),
        Step.ASSEMBLE: AssembleStage(ledger, settings.assemble.quiet_seconds),
        Step.SCORE: ScoreStage(ledger, scorer, times),
        Step.SHADOW: ShadowStage(ledger, scorer, modelling.running(settings, here=True)),
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
