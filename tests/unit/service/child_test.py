"""A process of the service tells that it lives, mends what the disk would not have, and does not pause."""

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orthanc_al.ledger import Ledger, processes
from orthanc_al.ledger.log_file import NotOnDiskError
from orthanc_al.service import child
from orthanc_al.settings import Settings


def test_what_the_disk_would_not_have_is_tried_again_with_each_sign_of_life(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Ledger] = []
    twice = threading.Event()

    def mend(one: Ledger) -> None:
        tried.append(one)
        if len(tried) == 2:
            twice.set()
        raise NotOnDiskError("Input/output error")

    monkeypatch.setattr(Ledger, "mend", mend)
    monkeypatch.setattr(child, "_HEARTBEAT_SECONDS", 0.01)
    with child._heartbeat(ledger, "web", {"state": "ready"}):
        assert twice.wait(20)
    with ledger.read() as connection:
        assert list(processes.all_roles(connection)) == ["web"]


def test_what_a_role_loaded_is_not_looked_through_for_garbage_while_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all of its threads would stand still for a quarter of a second, and who waits for their locks."""
    loaded: list[object] = [[], {}]
    searched: list[bool] = []

    def load(role: str) -> Callable[..., None]:
        loaded.append({role: []})
        return work

    def work(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
        made = [{}]
        known = {id(one) for one in gc.get_objects()}  # what is left out is not among them
        searched.extend(id(one) in known for one in (loaded[-1], made))

    monkeypatch.setattr(child.roles, "runner", load)
    ledger = f"sqlite:///{tmp_path}/ledger.sqlite"
    Ledger.create(ledger).close()
    settings = Settings.model_validate({"storage": {"ledger": ledger, "spool": str(tmp_path / "spool")}})
    try:
        child.run_role(settings, "web")
    finally:
        gc.unfreeze()
    assert searched == [False, True]
