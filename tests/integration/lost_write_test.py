"""A disk that loses what it was to write: nobody is promised what a power cut would take then.

The system tells of such a loss once to each who had the file open, lets go of what it lost, and writes all
that comes later: into a log with a hole, behind which nothing counts after a power cut. The disk is an
image in memory, with holes where the log lies and no memory left to fill them.
"""

import ctypes
import fcntl
import os
import sqlite3
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy.exc import OperationalError

from orthanc_al.ledger import Ledger, facts, log_file
from orthanc_al.ledger.log_file import NotOnDiskError
from tests.support.disk import BLOCK, SIZE, Disk

_WHERE: Final = 1  # FIBMAP: which block of the disk has a block of the file
_PUNCH_HOLE: Final = 3  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
_LARGE: Final = 1_000_000  # longer than the part of the log that has no holes


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    memory = tmp_path / "memory"
    memory.mkdir()
    size = f"size={SIZE + (4 << 20)}"
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", memory], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"nothing can be mounted here (root): {error}")
    made = None
    try:
        made = Disk(memory)
        made.image.write_bytes(made.image.read_bytes())  # memory for all of it
        made.mount()
        _write_block_by_block(made)
    except (OSError, subprocess.CalledProcessError) as error:
        _leave(memory, made)
        pytest.skip(f"a file system of its own can't be had here (loop devices): {error}")
    yield made
    _leave(memory, made)


def _leave(memory: Path, disk: Disk | None) -> None:
    if disk is not None and disk.mounted.is_mount():
        disk.unmount()
    subprocess.run(["umount", memory], check=True)


def _write_block_by_block(disk: Disk) -> None:
    """Have no request reach into a hole with its end alone: a loop device says that it was written."""
    mounts = (line.split()[:2] for line in Path("/proc/mounts").read_text().splitlines())
    [device] = [device for device, folder in mounts if folder == str(disk.mounted)]
    (Path("/sys/block") / Path(device).name / "queue" / "max_sectors_kb").write_text(str(BLOCK // 1024))


def _make_holes(disk: Disk, log: Path) -> None:
    """Take away from the disk what is under a log, but for its beginning."""
    with log.open("rb") as file:
        os.fsync(file)
        blocks = [
            struct.unpack("i", fcntl.ioctl(file, _WHERE, struct.pack("i", number)))[0]
            for number in range(_LARGE // BLOCK)
        ]
    punch = ctypes.CDLL(None, use_errno=True).fallocate
    punch.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    with disk.image.open("r+b") as image:
        for block in blocks[20:]:
            assert punch(image.fileno(), _PUNCH_HOLE, block * BLOCK, BLOCK) == 0


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(BLOCK))


def _keep(ledger: Ledger, name: str, value: str = "1") -> bool:
    """Return whether it was promised, at the first or the second try."""
    for _ in range(2):
        try:
            with ledger.write() as connection:
                facts.put(connection, name, value)
        except OperationalError:
            continue
        return True
    return False


def test_what_the_disk_lost_of_the_log_takes_nothing_along_that_was_promised(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[NotOnDiskError] = []
    sync = log_file.sync

    def watched(log: int) -> None:
        try:
            sync(log)
        except NotOnDiskError as error:
            lost.append(error)
            raise

    monkeypatch.setattr(log_file, "sync", watched)
    url = f"sqlite:///{disk.mounted}/ledger.sqlite"
    ledgers = [Ledger.create(url), Ledger.open(url)]
    with ledgers[0].write() as connection:
        facts.put(connection, "before", "x" * 2 * _LARGE)
    with closing(
        sqlite3.connect(disk.mounted / "ledger.sqlite")
    ) as raw:  # what lies under the log now is done
        assert raw.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 0
    _make_holes(disk, disk.mounted / "ledger.sqlite-wal")
    _fill(disk.image.parent / "full")
    with ledgers[1].write(forced=False) as connection:
        facts.put(connection, "unforced", "1")
    promised = {"before": True, "large": _keep(ledgers[0], "large", "y" * _LARGE)}
    (disk.image.parent / "full").unlink()
    promised |= {f"after {number}": _keep(one, f"after {number}") for number, one in enumerate(ledgers)}
    assert lost  # it did lose some
    assert promised["after 0"]
    assert promised["after 1"]
    disk.shut_down()
    for one in ledgers:
        one.close()
    disk.unmount()
    disk.mount()
    ledger = Ledger.open(url)
    with ledger.read() as connection:
        there = {name for name in [*promised, "unforced"] if facts.get(connection, name) is not None}
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    ledger.close()
    assert there >= {name for name, was in promised.items() if was}
