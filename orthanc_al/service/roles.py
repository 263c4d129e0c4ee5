"""What each process of the service does until it is told to stop.

A role says ``detail["state"] = "ready"`` once it does its work; doctor and /readyz show the rest of it.
"""

import os
import socket
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import uvicorn
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from sqlalchemy.exc import OperationalError

from orthanc_al.errors import OrthancAlError
from orthanc_al.ledger import Ledger, Worker, WorkQueue, enqueue, facts
from orthanc_al.ledger.queue import release_dead
from orthanc_al.observe import logger, now
from orthanc_al.pipeline import SCORING_STEPS, Step
from orthanc_al.review import poll_labels
from orthanc_al.service import building
from orthanc_al.settings import Settings

LEARN_LEASE: Final = 900.0
_LEASE: Final = 300.0
_CLEAN_SECONDS: Final = 300.0
_TROUBLE_SECONDS: Final = 2.0
_LABEL_SECONDS: Final = 60.0
_WORKERS: Final = 2
_log = logger("service")

Role = Callable[[Settings, Ledger, threading.Event, dict[str, Any]], None]


def _listener(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    listener = building.listener(settings, ledger)
    listener.start()
    detail.update(state="ready", port=settings.dicom.port, accept=settings.dicom.accept)
    stop.wait()
    listener.stop()


def _forwarder(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    forwarder = building.forwarder(settings, ledger)
    forwarder.start()
    detail.update(state="ready")
    housekeeping = threading.Thread(target=_housekeeping, args=(settings, ledger, stop), name="housekeeping")
    housekeeping.start()
    while forwarder.is_alive() and not stop.wait(_TROUBLE_SECONDS):
        trouble = forwarder.trouble()
        detail["trouble"] = "; ".join(f"{name}: {why}" for name, why in trouble.items()) or "none"
    stop.set()  # a line that ended by a slip ends the process: the supervisor starts a whole one
    forwarder.stop()
    housekeeping.join()


def _housekeeping(settings: Settings, ledger: Ledger, stop: threading.Event) -> None:
    """Clean the spool now and then; what goes wrong there must not stop the forwarder."""
    while not stop.wait(_CLEAN_SECONDS):
        try:
            removed = building.clean_spool(settings, ledger)
        except (OrthancAlError, OSError, OperationalError) as error:
            _log.error("spool_not_cleaned", error=str(error))
            continue
        if removed:
            _log.info("spool_cleaned", files=removed)


def _worker(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    models = building.running_models(settings)
    detail["provider"] = building.warm_up(settings, ledger, models)
    stages = building.worker_stages(settings, ledger, models)
    detail["state"] = "ready"

    def held_back() -> Collection[Step]:
        with ledger.read() as connection:
            return SCORING_STEPS if facts.scoring_paused(connection) else frozenset()

    def work(number: int) -> None:
        queue = WorkQueue(ledger, _owner("worker", number), _LEASE)
        Worker(ledger, queue, stages, held_back).run(stop)

    _take_over(ledger, "worker")
    crew = [threading.Thread(target=work, args=(n,), name=f"worker-{n}") for n in range(_WORKERS)]
    crew.append(threading.Thread(target=_poll_labels, args=(settings, ledger, stop), name="labels"))
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()


def _owner(role: str, number: int = 0) -> str:
    return f"{socket.gethostname()}/{role}-{os.getpid()}-{number}"


def _take_over(ledger: Ledger, role: str) -> None:
    """Take the jobs of this machine's dead workers at once instead of at the end of their leases."""
    prefix = f"{socket.gethostname()}/{role}-"

    def lives(owner: str) -> bool:
        pid = owner.removeprefix(prefix).split("-")[0]
        return Path(f"/proc/{pid}").exists()

    with ledger.write() as connection:
        taken = release_dead(connection, prefix, lives)
    if taken:
        _log.warning("jobs_taken_over", role=role, jobs=taken)


def _poll_labels(settings: Settings, ledger: Ledger, stop: threading.Event) -> None:
    """Look at Orthanc's labels every minute, where the site trusts them: they make no entry in /changes."""
    client = building.orthanc(settings)
    if client is None or not settings.review.trust_labels:
        return
    while not stop.wait(_LABEL_SECONDS):
        try:
            poll_labels(ledger, client)
        except OrthancAlError as error:
            _log.warning("labels_not_polled", error=str(error))


def _learner(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    os.nice(10)
    stages = building.learner_stages(settings, ledger)
    _take_over(ledger, "learner")
    detail.update(state="ready")
    Worker(ledger, WorkQueue(ledger, _owner("learner"), LEARN_LEASE), stages).run(stop)


def _web(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            building.web_app(settings, ledger, active(settings)),
            host=settings.web.host,
            port=settings.web.port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=3,
        )
    )
    clock = _nightly_clock(settings, ledger)
    thread = threading.Thread(target=server.run, name="web")
    thread.start()
    while not server.started and thread.is_alive():
        stop.wait(0.05)
    detail.update(state="ready", port=settings.web.port)
    while thread.is_alive() and not stop.wait(0.5):
        continue
    server.should_exit = True
    thread.join()
    if clock is not None:
        clock.shutdown(wait=False)


def _nightly_clock(settings: Settings, ledger: Ledger) -> BackgroundScheduler | None:
    """Start the clock of ``learn.cron``; all it does is to put the models' jobs on the queue."""
    if not settings.learn.cron:
        return None
    zone = settings.site.timezone

    def ring() -> None:
        with ledger.write() as connection:
            for package in building.packages(settings):
                enqueue(connection, Step.RETRAIN, package.ref.name, now(), sooner=True)

    scheduler = BackgroundScheduler(timezone=zone)
    # A machine that slept through the hour does it when it wakes, once.
    scheduler.add_job(
        ring, CronTrigger.from_crontab(settings.learn.cron, zone), coalesce=True, misfire_grace_time=6 * 3600
    )
    scheduler.start()
    return scheduler


def _archive(settings: Settings, _: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    archive = building.archive(settings)
    archive.start()
    detail.update(state="ready", port=settings.archive.port)
    stop.wait()
    archive.stop()


# In the order in which they are started: what takes studies in comes last, when all else is there.
ROLES: Final[dict[str, Role]] = {
    "web": _web,
    "archive": _archive,
    "forwarder": _forwarder,
    "worker": _worker,
    "learner": _learner,
    "listener": _listener,
}


def active(settings: Settings) -> tuple[str, ...]:
    """Return the roles that this configuration asks for."""
    return tuple(role for role in ROLES if role != "archive" or settings.archive.enabled)
