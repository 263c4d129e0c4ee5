"""One process of the service: ``python -m orthanc_al.service.child``; imports its own role alone."""

import argparse
import gc
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from orthanc_al.errors import ConfigurationError, OrthancAlError
from orthanc_al.ledger import Ledger, processes
from orthanc_al.observe import configure_logging, logger, now
from orthanc_al.service import roles
from orthanc_al.service.stopping import stopped_by_signals
from orthanc_al.service.supervisor import die_with_parent
from orthanc_al.settings import Settings, load

_HEARTBEAT_SECONDS: Final = 2.0
ENDED: Final = "ended"
_log = logger("service")


def command(role: str, config: Path | None) -> list[str]:
    """Return the command line of the process that does a role, as a child of this one."""
    words = [sys.executable, "-m", "orthanc_al.service.lean", role, "--parent", str(os.getpid())]
    return [*words, "--config", str(config)] if config is not None else words


def main(words: Sequence[str] | None = None) -> int:
    """Be a child of the supervisor; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--config", type=Path)
    asked = parser.parse_args(words)
    die_with_parent(asked.parent)
    try:
        settings = load(asked.config)
        configure_logging(settings.log.level, json=settings.log.json_lines)
        run_role(settings, asked.role)
    except OrthancAlError as error:
        _log.error("process_failed", role=asked.role, error=str(error))
        return error.exit_status
    except (OSError, SQLAlchemyError) as error:
        _log.error("process_failed", role=asked.role, error=f"{type(error).__name__}: {error}")
        return OrthancAlError.exit_status
    return 0


def run_role(settings: Settings, role: str) -> None:
    """Do a role until SIGINT or SIGTERM.

    Raises
    ------
    ConfigurationError
        No such role.
    """
    if role not in roles.ROLES:
        raise ConfigurationError(f"There is no role {role}; there are {', '.join(roles.ROLES)}.")
    ledger = Ledger.open(settings.storage.ledger)
    detail: dict[str, Any] = {"state": "starting"}
    with stopped_by_signals() as stop, _heartbeat(ledger, role, detail):
        _log.info("process_started", role=role)
        try:
            run = roles.runner(role)
            _keep_what_is_loaded()
            run(settings, ledger, stop, detail)
        except Exception as error:
            detail["state"] = f"failed: {error}"  # doctor and /readyz say it while nobody does the role
            raise
        detail["state"] = ENDED
        _log.info("process_ended", role=role)
    ledger.close()


def _keep_what_is_loaded() -> None:
    """Leave what was imported out of the search for garbage, from now on.

    To look through it takes 100 to 250 ms, for which no thread has the interpreter, and whoever waits for a
    lock that one of them holds waits, too: an image for the ledger's, while a worker looks for garbage.
    """
    gc.collect()
    gc.freeze()


@contextmanager
def _heartbeat(ledger: Ledger, role: str, detail: dict[str, Any]) -> Iterator[None]:
    """Tell the ledger every few seconds that this process lives, and what it says of itself."""
    stop = threading.Event()
    started = now()

    def beat() -> None:
        ended = False
        while True:  # once more at the end, for how it ended
            try:
                with ledger.write(forced=False) as connection:
                    processes.report_alive(connection, role, os.getpid(), started, dict(detail))
                ledger.mend()
            except SQLAlchemyError as error:
                _log.warning("heartbeat_failed", role=role, error=str(error))
            if ended:
                return
            ended = stop.wait(_HEARTBEAT_SECONDS)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_HEARTBEAT_SECONDS * 2)


if __name__ == "__main__":
    sys.exit(main())
