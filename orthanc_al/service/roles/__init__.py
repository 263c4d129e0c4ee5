"""What each process of the service does until it is told to stop: a module a role, with ``run``.

A module is imported by its own process alone: the listener starts, and starts again, without waiting for
ONNX Runtime and the pages. A role says ``detail["state"] = "ready"`` once it does its work; doctor and
/readyz show the rest of it.
"""

from collections.abc import Callable
from importlib import import_module
from threading import Event
from typing import Any, Final, cast

from orthanc_al.ledger import Ledger
from orthanc_al.settings import Settings

Run = Callable[[Settings, Ledger, Event, dict[str, Any]], None]

# In the order in which they are started: what takes studies in comes last, when all else is there.
ROLES: Final = ("web", "archive", "forwarder", "worker", "learner", "watcher", "listener")


def runner(role: str) -> Run:
    """Import what does a role."""
    return cast("Run", import_module(f"{__name__}.{role}").run)


def active(settings: Settings) -> tuple[str, ...]:
    """Return the roles that this configuration asks for."""
    wanted = {"archive": settings.archive.enabled, "watcher": settings.orthanc.watch}
    return tuple(role for role in ROLES if wanted.get(role, True))
