"""A process of the service tells that it lives, and sees to what it could not bring to the disk."""

import threading

import pytest

from orthanc_al.ledger import Ledger, processes
from orthanc_al.ledger.log_file import NotOnDiskError
from orthanc_al.service import child


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
