"""Starts the service's processes, and is what each of them runs."""

import os
import secrets
import signal
import sys
import threading
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import OperationalError

from orthanc_al.errors import ConfigurationError, OrthancAlError
from orthanc_al.ledger import Ledger, Worker, WorkQueue, models, processes, queue
from orthanc_al.observe import logger, now
from orthanc_al.pipeline import Step
from orthanc_al.select import spend_the_rest
from orthanc_al.service import building, roles
from orthanc_al.service.supervisor import Supervisor, die_with_parent
from orthanc_al.settings import Settings

ROLES: Final = tuple(roles.ROLES)
_HEARTBEAT_SECONDS: Final = 2.0
_ALIVE_SECONDS: Final = 10.0
_log = logger("service")


def serve(settings: Settings, config: Path | None) -> None:
    """Create the ledger where there is none, then run all processes until SIGINT or SIGTERM."""
    prepare(settings)
    with stopped_by_signals() as stop:
        supervise(settings, config, stop)


def prepare(settings: Settings) -> None:
    """Create or migrate the ledger and install the configured packages.

    Raises
    ------
    PackageRefusedError
        A package's digest does not hold.
    """
    ledger = Ledger.create(settings.storage.ledger)
    with ledger.write() as connection:
        for package in building.packages(settings):
            models.install(connection, package.ref, package.folder)
    ledger.close()


def supervise(settings: Settings, config: Path | None, stop: threading.Event) -> None:
    """Run a process for each role until ``stop`` is set."""
    wanted = roles.active(settings)

    def command(role: str) -> list[str]:
        words = [sys.executable, "-m", "orthanc_al"]
        if config is not None:
            words += ["--config", str(config)]
        return [*words, "serve", "--role", role, "--parent", str(os.getpid())]

    def restarted(role: str, times: int) -> None:
        _log.warning("process_restarted", role=role, times=times)

    Supervisor(command, wanted, restarted).run(stop)


def run_role(settings: Settings, role: str, parent: int) -> None:
    """Be one of the processes until SIGINT or SIGTERM.

    Parameters
    ----------
    parent
        Process id of the supervisor, 0 where there is none (systemd, containers).

    Raises
    ------
    ConfigurationError
        No such role.
    """
    if role not in roles.ROLES:
        raise ConfigurationError(f"There is no role {role}; there are {', '.join(ROLES)}.")
    if parent:
        die_with_parent(parent)
    else:
        prepare(settings)
    ledger = Ledger.open(settings.storage.ledger)
    detail: dict[str, Any] = {}
    with stopped_by_signals() as stop, _heartbeat(ledger, role, detail):
        _log.info("process_started", role=role)
        roles.ROLES[role](settings, ledger, stop, detail)
        _log.info("process_ended", role=role)
    ledger.close()


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that the first SIGINT or SIGTERM sets; the next one has its default effect."""
    stop = threading.Event()

    def ask(number: int, _: types.FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _heartbeat(ledger: Ledger, role: str, detail: dict[str, Any]) -> Iterator[None]:
    """Tell the ledger every few seconds that this process lives, and what it says of itself."""
    stop = threading.Event()
    started = now()

    def beat() -> None:
        while True:
            try:
                with ledger.write() as connection:
                    processes.report_alive(connection, role, os.getpid(), started, dict(detail))
            except OperationalError as error:
                _log.warning("heartbeat_failed", role=role, error=str(error.orig))
            if stop.wait(_HEARTBEAT_SECONDS):
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_HEARTBEAT_SECONDS * 2)


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
    """Whether no work waits or runs, what is put off included, but for retraining."""
    with ledger.read() as connection:
        counted = queue.counts(connection)
    return not any(state != "quarantined" and step != Step.RETRAIN for step, state in counted)


def model_names(settings: Settings) -> list[str]:
    """Return the names of the configured models."""
    return sorted({package.ref.name for package in building.packages(settings)})


def select_now(settings: Settings, ledger: Ledger) -> int:
    """Spend what the day left of the budget; return how many studies will be asked for."""
    return len(spend_the_rest(ledger, building.budget(settings)))


def learn_now(settings: Settings, ledger: Ledger) -> None:
    """Do the retraining that is on the queue in this process."""
    owner = f"retrain-{os.getpid()}-{secrets.token_hex(2)}"
    stages = building.learner_stages(settings, ledger)
    worker = Worker(ledger, WorkQueue(ledger, owner, roles.LEARN_LEASE), stages)
    while worker.run_once():
        time.sleep(0)
