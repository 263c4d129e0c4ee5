"""What the spool lies on is looked at as it is, and what takes its promise away is told."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orthanc_al.service import ground
from orthanc_al.service.ground import Ground, ground_of


@pytest.mark.parametrize(
    ("kind", "options", "journal", "said"),
    [
        ("ext4", {"rw", "relatime"}, True, None),
        ("ext4", {"rw"}, None, None),
        ("xfs", {"rw", "noquota"}, None, None),
        ("tmpfs", {"rw", "size=24k"}, None, "in memory"),
        ("overlay", {"rw", "volatile"}, None, "fsync does nothing"),
        ("overlay", {"rw", "fsync=volatile"}, None, "fsync does nothing"),
        ("xfs", {"rw", "nobarrier"}, None, "battery"),
        ("ext4", {"rw", "barrier=0"}, True, "battery"),
        ("ext4", {"rw"}, False, "prepared_files = 0"),
        ("ext2", {"rw"}, None, "prepared_files = 0"),
    ],
)
def test_what_takes_the_promise_away_is_told(
    kind: str, options: set[str], journal: bool | None, said: str | None
) -> None:
    doubts = list(Ground(kind, frozenset(options), journal).doubts(moves=True))
    assert len(doubts) == (said is not None)
    assert all(said in doubt for doubt in doubts if said is not None)


def test_a_move_matters_only_where_files_are_moved_unforced() -> None:
    assert list(Ground("ext4", frozenset(), journal=False).doubts(moves=False)) == []


def test_memory_is_seen() -> None:
    found = ground_of(Path("/dev/shm"))
    assert found is not None
    assert found.kind == "tmpfs"
    assert "rw" in found.options


@pytest.mark.parametrize("journal", [True, False])
def test_a_real_file_system_is_seen_with_and_without_a_journal(tmp_path: Path, journal: bool) -> None:
    with _mounted(tmp_path, journal=journal) as folder:
        (folder / "spool").mkdir()
        found = ground_of(folder / "spool")
    assert found is not None
    assert (found.kind, found.journal) == ("ext4", journal)


def test_what_the_system_does_not_tell_is_no_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ground_of(tmp_path / "none") is None
    monkeypatch.setattr(ground, "_EXT4", tmp_path)
    line = "27 1 4095:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,errors=remount-ro"
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(ground, "_MOUNTS", mounts)
    mounts.write_text(f"{line}\n")
    assert ground_of(tmp_path) is None  # its device is not there
    number = tmp_path.stat().st_dev
    mounts.write_text(f"{line.replace('4095:0', f'{os.major(number)}:{os.minor(number)}')}\n")
    assert ground_of(tmp_path) == Ground("ext4", frozenset({"rw", "relatime", "errors=remount-ro"}), None)


@contextmanager
def _mounted(folder: Path, *, journal: bool) -> Iterator[Path]:
    image, place = folder / "disk.ext4", folder / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    features = "has_journal" if journal else "^has_journal"
    try:
        subprocess.run(["/sbin/mkfs.ext4", "-q", "-O", features, image], check=True)
        subprocess.run(["mount", "-o", "loop", image, place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system of its own can't be mounted here (root and loop devices): {error}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)
