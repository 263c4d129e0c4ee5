"""Starts the service and asks how it is."""

import os
import threading
from pathlib import Path
from typing import Final

from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from orthanc_al.errors import ModelError, OrthancAlError
from orthanc_al.ledger import Job, Ledger, Worker, WorkQueue, processes, trail, waiting
from orthanc_al.observe import logger, now
from orthanc_al.pipeline import LEARNER_STEPS
from orthanc_al.select import spend_the_rest
from orthanc_al.service import building, child, housekeeping, modelling, owners, ports, roles, stopping
from orthanc_al.service.roles import learner
from orthanc_al.service.supervisor import Supervisor
from orthanc_al.settings import Settings

_ALIVE_SECONDS: Final = 10.0
_log = logger("service")


def serve(settings: Settings, config: Path | None) -> None:
    """Create the ledger where there is none, then run all processes until SIGINT or SIGTERM.

    Raises
    ------
    ConfigurationError
        Another program has one of our ports.
    """
    with stopping.stopped_by_signals() as stop:
        ports.wait_for(settings, stop)
        prepare(settings)
        if not stop.is_set():
            supervise(settings, config, stop)


def serve_role(settings: Settings, role: str) -> None:
    """Be one process of the service, without a supervisor (systemd, containers)."""
    prepare(settings)
    child.run_role(settings, role)


def prepare(settings: Settings) -> None:
    """Create or migrate the ledger, bring the spool in order, install the configured packages that hold."""
    ledger = Ledger.create(settings.storage.ledger)
    building.spool(settings).take_up_prepared()  # before anybody asks for a file that is not in its place
    modelling.install(settings, ledger)
    ledger.close()


def supervise(settings: Settings, config: Path | None, stop: threading.Event) -> None:
    """Run a process for each role until ``stop`` is set."""
    ledger = Ledger.open(settings.storage.ledger)

    def restarted(role: str, times: int) -> None:
        _log.warning("process_restarted", role=role, times=times)
        try:
            with ledger.write() as connection:
                processes.note_restart(connection, role)
                trail.record(connection, f"supervisor {os.getpid()}", "process_restarted", role, times=times)
        except SQLAlchemyError as error:  # a locked ledger must not end the service
            _log.error("restart_not_written", role=role, error=str(error))

    Supervisor(lambda role: child.command(role, config), roles.active(settings), restarted).run(stop)
    ledger.close()


def is_ready(settings: Settings) -> bool:
    """Whether each process has told that it lives and does its work."""
    try:
        ledger = Ledger.open(settings.storage.ledger)
    except OrthancAlError:
        return False
    with ledger.read() as connection:
        known = processes.all_roles(connection)
    ledger.close()
    fresh = {
        role
        for role, row in known.items()
        if now() - row["seen_at"] < _ALIVE_SECONDS and row["detail"].get("state") == "ready"
    }
    return set(roles.active(settings)) <= fresh


def is_idle(ledger: Ledger) -> bool:
    """Whether no work waits or runs, what is put off included, but for what the learner does."""
    with ledger.read() as connection:
        counted = waiting.counts(connection)
    return not any(state != "quarantined" and step not in LEARNER_STEPS for step, state in counted)


def model_names(settings: Settings) -> list[str]:
    """Return the names of the configured models."""
    return sorted({package.ref.name for package in modelling.packages(settings)})


def select_now(settings: Settings, ledger: Ledger) -> int:
    """Spend what the day left of the budget; return how many studies will be asked for."""
    return len(spend_the_rest(ledger, modelling.budget(settings)))


def learn_now(
    settings: Settings, ledger: Ledger, *, finetune: bool = False, console: Console | None = None
) -> bool:
    """Do the retraining that is on the queue in this process; return whether there was any.

    Parameters
    ----------
    finetune
        Train the whole network first.
    console
        For its progress bar.

    Raises
    ------
    ModelError
        Some of it failed: says why. What was live is live still.
    """
    if finetune:  # of what the spool still has; the worker keeps the rest every few minutes
        housekeeping.keep_inputs(settings, ledger)
    stages = learner.stages_of(settings, ledger, finetune=finetune, console=console)
    lease = learner.lease_of(finetune=finetune)
    work = _Told(ledger, owners.name("retrain"), lease)
    worker = Worker(ledger, work, stages)
    done = 0
    while worker.run_once():
        done += 1
    if work.failures:
        raise ModelError("\n".join(work.failures))
    return done > 0


class _Told(WorkQueue):
    """A queue that remembers what failed, for who waits for the end of it."""

    def __init__(self, ledger: Ledger, owner: str, lease_seconds: float) -> None:
        super().__init__(ledger, owner, lease_seconds)
        self.failures: list[str] = []

    def fail(self, job: Job, error: str, *, retryable: bool, passes: bool = False) -> bool:
        """Put a failed job back, or into quarantine, and keep why."""
        self.failures.append(f"{job.step} of {job.subject} failed, and what was live is live still. {error}")
        return super().fail(job, error, retryable=retryable, passes=passes)
