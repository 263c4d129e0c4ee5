"""Files made beforehand: one fsync a data set, and whatever their name after a power cut, none is lost."""

import errno
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orthanc_al.domain import Origin
from orthanc_al.errors import StorageError
from orthanc_al.spool import Spool, part10, prepared
from orthanc_al.spool.part10 import Seal

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
ORIGIN = Origin("MODALITY", "ORTHANC_AL", "ORTHANC_AL", "ct1", "a" * 32, "dicom")


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool", 0)
    spool.prepare(4)
    yield spool
    spool.stop_preparing()


def _store(spool: Spool, data: bytes) -> str:
    with spool.open_writer(CT, "1.2.3", EXPLICIT, ORIGIN) as writer:
        writer.write(data)
        return writer.commit().id


def _ready(spool: Spool) -> list[Path]:
    return sorted((spool.folder / "ready").glob("*.ready"))


def _undo_the_move(spool: Spool, instance_id: str) -> Path:
    """What a power cut may do to a file that was committed."""
    return spool.path(instance_id).rename(spool.folder / "ready" / f"{instance_id}.ready")


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_data_set_waits_for_one_fsync_before_its_move_and_a_large_one_for_another_after_it(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.stop_preparing()
    spool.prepare(64)  # so many that none are made while it is looked at
    seen: list[str] = []
    fsync, rename = os.fsync, Path.rename
    monkeypatch.setattr(os, "fsync", lambda handle: (seen.append("fsync"), fsync(handle))[1])
    monkeypatch.setattr(Path, "rename", lambda path, target: (seen.append("rename"), rename(path, target))[1])
    _store(spool, b"abc")
    assert seen == ["fsync", "rename"]
    seen.clear()
    large = _store(spool, bytes(5 << 20))  # whose CRC would take longer than the fsync of its folder
    assert seen == ["fsync", "rename", "fsync"]
    with spool.path(large).open("rb") as file:
        assert part10.seal_of(file) is not Seal.HOLDS


def test_what_was_committed_bears_a_seal_that_holds(spool: Spool) -> None:
    for data in (b"", b"abc", bytes(3 << 20), bytes(4 << 20)):
        with spool.path(_store(spool, data)).open("rb") as file:
            assert part10.seal_of(file) is Seal.HOLDS


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_no_byte_may_change_or_be_missing_under_the_seal(spool: Spool, at: int, change: int) -> None:
    path = spool.path(_store(spool, b"a data set" * 20))
    whole = path.read_bytes()
    damaged = bytearray(whole)
    place = at % len(whole)
    if change:
        damaged[place] ^= change
    else:
        del damaged[place:]
    path.write_bytes(damaged)
    with path.open("rb") as file:
        assert part10.seal_of(file) is not Seal.HOLDS


def test_a_file_without_a_seal_proves_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 0)
    with spool.path(_store(spool, b"abc")).open("rb") as file:
        assert part10.seal_of(file) is not Seal.HOLDS


def test_a_move_that_was_undone_is_done_again_with_all_that_the_row_needs(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = _store(spool, b"abc")
    told = spool.describe(name)
    _undo_the_move(spool, name)
    assert name in spool  # nobody is told that it is lost
    assert list(spool.ids()) == []
    synced: list[Path] = []
    monkeypatch.setattr("orthanc_al.spool.prepared.fsync_folder", synced.append)
    again = Spool(spool.folder, 0)
    assert again.take_up_prepared() == 1
    assert again.describe(name) == told
    with again.open(name) as file:
        assert bytes(file.data_set) == b"abc"
    assert set(synced) == {spool.folder / "ready", spool.folder / name[:2]}
    assert again.take_up_prepared() == 0


def test_what_a_killed_process_left_unfinished_goes(spool: Spool) -> None:
    path = _undo_the_move(spool, _store(spool, b"abc"))
    whole = path.read_bytes()
    sealed = re.search(rb"[0-9a-f]{16} [0-9a-f]{8}", whole)
    assert sealed is not None
    path.write_bytes(whole.replace(sealed[0], b" " * 25))
    foreign = [path.with_name(f"{digit * 32}.ready") for digit in "0123"]
    far = b"\0" * 128 + b"DICM\x02\0\0\0UL\x04\0\xff\xff\xff\xff"  # a head of 4 GiB
    for other, content in zip(foreign, (b"", b"DICM", whole[:300], far), strict=True):
        other.write_bytes(content)
    assert Spool(spool.folder, 0).take_up_prepared() == 0
    assert not path.exists()
    assert not any(other.exists() for other in foreign)


def test_what_bears_a_seal_that_does_not_hold_is_kept_and_told(spool: Spool) -> None:
    name = _store(spool, b"abc")
    path = _undo_the_move(spool, name)
    path.write_bytes(path.read_bytes()[:-1])
    again = Spool(spool.folder, 0)
    assert again.take_up_prepared() == 0
    assert again.to_be_taken_up() == ([], [name])
    assert path.with_suffix(".damaged").exists()
    assert name not in again


def test_what_waits_to_be_taken_up_is_named_and_a_removed_one_does_not_come_back(spool: Spool) -> None:
    first, second = _store(spool, b"abc"), _store(spool, b"def")
    for name in (first, second):
        _undo_the_move(spool, name)
    again = Spool(spool.folder, 0)
    assert again.to_be_taken_up() == (sorted((first, second)), [])
    again.remove(first)
    assert again.take_up_prepared() == 1
    assert list(again.ids()) == [second]
    assert again.to_be_taken_up() == ([], [])


def test_who_comes_while_files_are_taken_up_waits_until_they_are(spool: Spool) -> None:
    name = _store(spool, b"abc")
    _undo_the_move(spool, name)
    other = Spool(spool.folder, 0)
    with prepared._locked(spool.folder / "ready"):
        waiter = threading.Thread(target=other.take_up_prepared)
        waiter.start()
        waiter.join(0.2)
        assert waiter.is_alive()
        assert list(other.ids()) == []
    waiter.join(10)
    assert list(other.ids()) == [name]


def test_a_folder_that_can_not_be_looked_into_is_told_with_its_key(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    _undo_the_move(spool, _store(spool, b"abc"))
    for place in ("os.scandir", "fcntl.flock", "orthanc_al.spool.prepared.fsync_folder"):
        with monkeypatch.context() as broken:
            broken.setattr(place, fails)
            with pytest.raises(StorageError, match=r"storage\.spool|can't be looked at"):
                spool.to_be_taken_up() if place == "fcntl.flock" else spool.take_up_prepared()


def test_a_process_that_only_reads_the_spool_leaves_it_to_others(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EROFS, "read-only file system")

    name = _store(spool, b"abc")
    _undo_the_move(spool, name)
    with monkeypatch.context() as broken:
        broken.setattr(prepared, "_locked", fails)
        assert spool.take_up_prepared() == 0
    assert spool.take_up_prepared() == 1


def test_a_file_that_can_not_be_removed_is_closed_and_nothing_follows_it(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "read-only file system")

    before = _descriptors()
    writer = spool.open_writer(CT, "1.2.3", EXPLICIT, ORIGIN)
    writer.write(b"abc")
    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", fails)
        writer.abort()
        spool.stop_preparing()
    assert _descriptors() == before - 4
    for act in (lambda: writer.write(b"def"), writer.commit):
        with pytest.raises(StorageError):
            act()
    assert list(spool.ids()) == []


def test_what_somebody_is_about_to_fill_or_fills_stays(spool: Spool) -> None:
    waiting = _ready(spool)
    with spool.open_writer(CT, "1.2.3", EXPLICIT, ORIGIN) as writer:
        writer.write(b"abc")
        assert Spool(spool.folder, 0).take_up_prepared() == 0
        assert set(waiting) <= set(_ready(spool))
        assert writer.commit().id in spool


def test_the_lock_of_a_killed_process_goes_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    program = (
        "import os, sys; from pathlib import Path; from orthanc_al.spool import Spool; "
        "spool = Spool(Path(sys.argv[1]), 0); spool.prepare(4); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", program, folder], check=False, timeout=60)
    assert killed.returncode == -9
    assert len(list((folder / "ready").glob("*.ready"))) == 4
    assert Spool(folder, 0).take_up_prepared() == 0
    assert list((folder / "ready").glob("*.ready")) == []


def test_one_that_is_moved_while_it_is_looked_at_is_its_writers(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _undo_the_move(spool, _store(spool, b"abc"))
    monkeypatch.setattr(part10, "seal_of", lambda _: (path.rename(path.with_suffix(".gone")), Seal.HOLDS)[1])
    assert Spool(spool.folder, 0).take_up_prepared() == 0


def test_a_place_that_is_full_is_told_and_the_file_stays(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    path = _undo_the_move(spool, _store(spool, b"abc"))
    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", full)
        assert Spool(spool.folder, 0).take_up_prepared() == 0
    assert path.exists()
    stranger = path.with_name("notes.ready")
    stranger.write_bytes(path.read_bytes())
    assert Spool(spool.folder, 0).take_up_prepared() == 1
    assert stranger.exists()  # it is no id: nobody moves it anywhere


def test_there_are_always_some_and_none_makes_nobody_wait(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):
        _store(spool, b"abc")
    _until(lambda: 2 < len(_ready(spool)) <= 4)  # made again where half are gone, so the last may be missing
    monkeypatch.setattr("orthanc_al.spool.prepared.PreparedFiles.take", lambda _: None)
    assert _store(spool, b"abc") in spool
    assert len(list(spool.ids())) == 21


def test_an_object_of_our_own_has_its_own_name_and_takes_none(spool: Spool) -> None:
    waiting = _ready(spool)
    with spool.open_writer(CT, "1.2.3", EXPLICIT, ORIGIN, instance_id="0" * 32) as writer:
        assert _ready(spool) == waiting
        writer.commit()


def test_no_file_is_used_that_somebody_removed(spool: Spool) -> None:
    for path in _ready(spool):
        path.unlink()
    assert _store(spool, b"abc") in spool
    _until(lambda: len(_ready(spool)) == 4)


@pytest.mark.parametrize("failing", ["flock", "fsync"])
def test_a_disk_that_prepares_nothing_is_told_and_files_are_made_as_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    spool = Spool(tmp_path / "spool", 0)
    monkeypatch.setattr("orthanc_al.spool.prepared._RETRY_SECONDS", 0.0)
    place = {"flock": "fcntl.flock", "fsync": "orthanc_al.spool.prepared.fsync_folder"}
    with monkeypatch.context() as broken:
        broken.setattr(place[failing], fails)
        spool.prepare(4)
        assert _ready(spool) == []
        for _ in range(20):
            assert _store(spool, b"abc") in spool
        assert [path for path in _ready(spool) if path.stat().st_size] == []
    _store(spool, b"abc")
    _until(lambda: len(_ready(spool)) == 4)  # it goes on by itself
    spool.stop_preparing()


def test_a_fault_at_the_end_leaves_no_file_under_either_name(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(StorageError):
        _store(spool, b"abc")
    assert list(spool.ids()) == []
    assert [path for path in _ready(spool) if path.stat().st_size] == []
