"""The worker: from an instance's header to its report, and what comes back."""

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final
from zoneinfo import ZoneInfo

from orthanc_al.assemble import ArriveStage, AssembleStage
from orthanc_al.errors import DeviceLostError
from orthanc_al.inference import Models
from orthanc_al.learn import load_plan
from orthanc_al.ledger import Ledger, Stage, Worker, WorkQueue, facts
from orthanc_al.observe import logger
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
_log = logger("worker")


def run(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    """Do the queue's work but learning until told to stop.

    Raises
    ------
    DeviceLostError
        The GPU is lost: only a process that starts anew may find it again.
    """
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
    try:
        _do_shifts(settings, ledger, stop, detail)
    finally:
        stop.set()  # a worker that ended by a slip ends the process: the supervisor starts a whole one
        for thread in chores:
            thread.join()


def _do_shifts(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    """Work until told to stop.

    Where the GPU is lost as soon as packages are loaded, a process that starts anew may well lose it again:
    all that can is run on the CPU, and a new process looks again only where that leaves a model out.
    """
    running, lost = modelling.running(settings), None
    while not stop.is_set():
        try:
            uses = modelling.uses(settings, ledger, running)
        except DeviceLostError as error:
            _log.error("gpu_left_out", reason=str(error))
            lost, running = error, modelling.running(settings, without_gpu=f"the GPU is lost: {error}")
            continue
        _do_a_shift(settings, ledger, running, uses, stop, detail)
        if lost is not None and not stop.is_set():
            raise lost


def _do_a_shift(
    settings: Settings,
    ledger: Ledger,
    running: Models,
    uses: Sequence[ModelUse],
    stop: threading.Event,
    detail: dict[str, Any],
) -> None:
    """Work until told to stop; where a model package does not hold, look again after a while.

    Its studies wait on the queue, so that a package that is mended finds them there. Where none holds, no
    scoring step is done at all. Headers are read, studies assembled and reads taken all the same.

    Raises
    ------
    DeviceLostError
        The GPU is lost. Who had a job in hand that does without has finished it.
    """
    faults = [use.fault for use in uses if use.fault]
    idle = bool(faults) and len(faults) == len(uses)
    stages = stages_of(settings, ledger, running, uses)
    how = "does not score" if idle else "scores, but not by all models"
    detail["state"] = f"{how}: {'; '.join(dict.fromkeys(faults))}" if faults else "ready"

    def held_back() -> Collection[Step]:
        return SCORING_STEPS if idle or _paused(ledger) else frozenset()

    crew = _Crew(ledger, stages, held_back)
    look_again = time.monotonic() + (_LOOK_AGAIN_SECONDS if faults else math.inf)
    while time.monotonic() < look_again and crew.is_whole:
        detail["provider"] = modelling.providers(running)
        if stop.wait(0.2):
            break
    if not faults:
        stop.set()
    crew.end()


class _Crew:
    """Workers, each a thread, that begin at once."""

    def __init__(
        self, ledger: Ledger, stages: Mapping[Step, Stage], held_back: Callable[[], Collection[Step]]
    ) -> None:
        self._over = threading.Event()
        self._lost: list[DeviceLostError] = []

        def work(number: int) -> None:
            queue = WorkQueue(ledger, owners.name("worker", number), _LEASE)
            try:
                Worker(ledger, queue, stages, held_back).run(self._over)
            except DeviceLostError as error:
                self._lost.append(error)

        self._threads = [
            threading.Thread(target=work, args=(n,), name=f"worker-{n}") for n in range(_WORKERS)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_whole(self) -> bool:
        """Whether all are at work."""
        return all(thread.is_alive() for thread in self._threads)

    def end(self) -> None:
        """Have all finish what they have in hand.

        Raises
        ------
        DeviceLostError
            One of them met it.
        """
        self._over.set()
        for thread in self._threads:
            thread.join()
        for error in self._lost:
            raise error


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
        Step.SHADOW: ShadowStage(
            ledger, scorer, modelling.running(settings, here=True, without_gpu=running.without_gpu)
        ),
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
