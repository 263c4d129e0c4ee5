"""Time and logs: one clock, one way to log, and no patient data in either.

Events are named in the past tense (``instance_received``) and carry UIDs, names of peers and counts.
Keys that could hold a person are cut out whatever a caller passes (`_PERSONAL`).
"""

import logging
import sys
import threading
import time
import warnings
from collections.abc import Callable, MutableMapping
from typing import Any, Final, TextIO

import structlog

Clock = Callable[[], float]

_PERSONAL: Final = frozenset(
    {"patient_name", "patient_id", "birth_date", "accession_number", "reader", "password", "patient"}
)


# What these write and warn of quotes values of data sets.
_TALKATIVE: Final = ("pynetdicom", "pydicom", "highdicom")


def now() -> float:
    """Return seconds since 1970, UTC: the clock of all that is written into the ledger."""
    return time.time()


def _without_persons(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in _PERSONAL & event.keys():
        event[key] = "(left out)"
    return event


def configure_logging(level: str = "INFO", *, json: bool = False, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging for this process.

    Parameters
    ----------
    level
        Name of the lowest level that is written.
    json
        One JSON object a line, for programs; else text for people.
    stream
        Where to write to; the standard error when None.
    """
    target = stream or sys.stderr
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(colors=target.isatty(), pad_event_to=28)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_persons,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, stream=target, force=True)
    for name in _TALKATIVE:
        # Not by their level: pydicom sets its own when it is imported, which may be later than this.
        talkative = logging.getLogger(name)
        talkative.propagate = False
        talkative.handlers = [logging.NullHandler()]
        warnings.filterwarnings("ignore", module=rf"{name}\b")


def logger(room: str) -> Any:
    """Return the logger of a room, e.g. ``logger("receive")``.

    It takes the set-up of the moment of each call: modules make theirs before `configure_logging` ran.
    """
    return structlog.get_logger(room=room)


def keep_turning(
    turn: Callable[[], object], stop: threading.Event, seconds: float, log: Any, crashed: str
) -> None:
    """Do ``turn`` every ``seconds`` until told to stop, whatever goes wrong in one.

    For what runs beside the work and must hold nothing of it up.

    Parameters
    ----------
    log, crashed
        Where, and as which event, a turn is told that raised; the next one waits five times as long.
    """
    while not stop.wait(seconds):
        try:
            turn()
        except Exception:  # a named border: nothing else must depend on this
            log.exception(crashed)
            stop.wait(5 * seconds)
