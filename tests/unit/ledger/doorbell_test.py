"""The bell is a hint: it wakes who waits, and nothing depends on its being there."""

from pathlib import Path

from orthanc_al.ledger import doorbell
from orthanc_al.ledger.doorbell import Doorbell


def test_a_ring_is_heard_also_when_it_came_before(tmp_path: Path) -> None:
    with Doorbell(tmp_path / "bell") as bell:
        for _ in range(20000):  # more than a pipe holds
            doorbell.ring(tmp_path / "bell")
        for _ in range(20):
            bell.wait(0.01)
        doorbell.ring(tmp_path / "bell")
        bell.wait(3600)


def test_nobody_who_listens_and_no_place_for_a_bell_are_no_fault(tmp_path: Path) -> None:
    doorbell.ring(tmp_path / "none")
    doorbell.ring(None)
    (tmp_path / "file").write_text("not a pipe")
    for path in (None, tmp_path / "file", tmp_path / "no folder" / "bell"):
        with Doorbell(path) as bell:
            bell.wait(0.001)
    assert (tmp_path / "file").read_text() == "not a pipe"
