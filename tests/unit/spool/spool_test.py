"""The spool keeps what it was given, under a name of its own, or keeps nothing."""

import contextlib
import errno
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from orthanc_al.domain import Origin
from orthanc_al.errors import DiskFullError, SpoolFileError, StorageError
from orthanc_al.spool import Spool, own_instance_id, part10

CR = "1.2.840.10008.5.1.4.1.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
ORIGIN = Origin("MODALITY", "ORTHANC_AL", "ORTHANC_AL", "ct1", "a" * 32, "dicom")


@pytest.fixture(params=[0, 4], ids=["made", "prepared"])
def spool(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Spool]:
    """A spool whose files are made when something comes, and one that has some ready."""
    spool = Spool(tmp_path / "spool", 0)
    spool.prepare(request.param)
    yield spool
    spool.stop_preparing()
    assert {path.name for path in (spool.folder / "ready").iterdir()} <= {".lock"}


def _store(spool: Spool, data: bytes, uid: str = "1.2.3", **options: str) -> str:
    with spool.open_writer(CR, uid, EXPLICIT, ORIGIN, **options) as writer:
        writer.write(data)
        return writer.commit().id


def _files(spool: Spool) -> list[Path]:
    """Return what there is beside the files that wait, empty, for something to come."""
    found = [path for path in spool.folder.rglob("*") if path.is_file()]
    return [
        path for path in found if path.name != ".lock" and (path.suffix != ".ready" or path.stat().st_size)
    ]


def test_a_committed_file_gives_back_the_same_bytes_and_facts(spool: Spool) -> None:
    with spool.open_writer(CR, "1.2.3", EXPLICIT, ORIGIN) as writer:
        writer.write(b"abc")
        writer.write(memoryview(b"defg"))
        instance = writer.commit()
    with spool.open(instance.id) as file:
        assert bytes(file.data_set) == b"abcdefg"
        assert file.path.read_bytes()[file.data_set_offset :] == b"abcdefg"
        assert file.instance == instance
        assert file.origin == ORIGIN
        assert file.transfer_syntax_uid == EXPLICIT
    assert spool.describe(instance.id) == (instance, ORIGIN)
    assert instance.size == 7


def test_the_file_is_part_10_for_other_programs(spool: Spool) -> None:
    data = b"\x08\x00\x18\x00UI\x06\x001.2.3\x00"
    path = spool.path(_store(spool, data))
    dataset = pydicom.dcmread(path)
    assert dataset.SOPInstanceUID == "1.2.3"
    assert dataset.file_meta.SendingApplicationEntityTitle == "MODALITY"
    assert dataset.file_meta.ReceivingApplicationEntityTitle == "ORTHANC_AL"
    assert dataset.file_meta.SourceApplicationEntityTitle == "ORTHANC_AL"
    assert dataset.file_meta.TransferSyntaxUID == EXPLICIT
    assert dataset.file_meta.PrivateInformationCreatorUID == part10.PRIVATE_INFORMATION_CREATOR_UID


def test_a_slice_that_outlives_the_file_harms_nothing(spool: Spool) -> None:
    with spool.open(_store(spool, b"abcdef")) as file:
        kept = file.data_set[2:4]
    assert bytes(kept) == b"cd"


def test_an_empty_data_set_is_kept_too(spool: Spool) -> None:
    with spool.open(_store(spool, b"")) as file:
        assert bytes(file.data_set) == b""


def test_two_files_of_one_sop_instance_uid_are_both_kept(spool: Spool) -> None:
    first, second = _store(spool, b"one"), _store(spool, b"two")
    assert set(spool.ids()) == {first, second}
    with spool.open(first) as file:
        assert bytes(file.data_set) == b"one"


def test_an_own_object_made_twice_is_one_file(spool: Spool) -> None:
    name = own_instance_id("2.25.1")
    assert _store(spool, b"one", "2.25.1", instance_id=name) == name
    _store(spool, b"two", "2.25.1", instance_id=name)
    with spool.open(name) as file:
        assert bytes(file.data_set) == b"two"
    assert list(spool.ids()) == [name]


def test_what_was_not_committed_leaves_nothing(spool: Spool) -> None:
    with contextlib.suppress(RuntimeError), spool.open_writer(CR, "1.2.3", EXPLICIT, ORIGIN) as writer:
        writer.write(b"abc")
        raise RuntimeError("the peer went away")
    assert _files(spool) == []


def test_nothing_is_taken_below_the_limit(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 60)
    with pytest.raises(DiskFullError, match="min_free_gb"):
        spool.open_writer(CR, "1.2.3", EXPLICIT, ORIGIN)
    assert _files(spool) == []


@pytest.mark.parametrize(
    ("code", "error"),
    [(errno.ENOSPC, DiskFullError), (errno.EDQUOT, DiskFullError), (errno.EIO, StorageError)],
)
def test_a_disk_that_fails_at_fsync_leaves_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, code: int, error: type[StorageError]
) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    writer = spool.open_writer(CR, "1.2.3", EXPLICIT, ORIGIN)
    writer.write(b"abc")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error):
        writer.commit()
    assert _files(spool) == []


def test_a_disk_that_takes_a_part_of_it_at_a_time_gets_the_rest_too(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "writev", lambda handle, parts: write(handle, b"".join(parts)[:5]))
    with spool.open_writer(CR, "1.2.3", EXPLICIT, ORIGIN) as writer:
        writer.write_all([memoryview(b"abcd"), memoryview(b"efg")])
        instance = writer.commit()
    with spool.open(instance.id) as file:
        assert bytes(file.data_set) == b"abcdefg"


def test_a_disk_that_fails_at_the_first_byte_leaves_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(DiskFullError):
        spool.open_writer(CR, "1.2.3", EXPLICIT, ORIGIN)
    assert _files(spool) == []


def test_bytes_are_durable_before_their_name_and_the_name_before_commit_returns(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def note_fsync(handle: int) -> None:
        seen.append("folder" if Path(f"/proc/self/fd/{handle}").resolve().is_dir() else "file")
        fsync(handle)

    def note_rename(path: Path, target: Path) -> Path:
        seen.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "rename", note_rename)
    _store(spool, b"abc", instance_id="0" * 32)  # one that is made now
    assert seen == ["file", "rename", "folder"]


def test_the_disk_begins_to_write_each_byte_of_a_long_file_once_while_it_still_comes(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[int, int]] = []
    monkeypatch.setattr(
        "orthanc_al.spool.writer.begin_to_write", lambda _, offset, count: begun.append((offset, count))
    )
    _store(spool, bytes(100))
    assert begun == []
    with spool.open_writer(CR, "1.2.3", EXPLICIT, ORIGIN) as writer:
        for _ in range(10):
            writer.write(bytes(50_000))
        writer.commit()
    assert begun == [(0, 150_000), (150_000, 150_000), (300_000, 150_000)]


def test_a_system_that_can_not_begin_early_stores_all_the_same(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orthanc_al.spool.disk._sync_file_range", None)
    data = bytes(range(256)) * 2000
    with spool.open(_store(spool, data)) as file:
        assert bytes(file.data_set) == data


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 32, "a" * 31, ""])
def test_nothing_outside_of_the_spool_can_be_named(spool: Spool, name: str) -> None:
    with pytest.raises(SpoolFileError):
        spool.path(name)


def test_a_missing_file_is_told_by_its_id(spool: Spool) -> None:
    with pytest.raises(SpoolFileError, match="f" * 32), spool.open("f" * 32):
        pass
    assert "f" * 32 not in spool
    spool.remove("f" * 32)


@pytest.mark.parametrize("keep", [0, 100, 143, 200])
def test_a_damaged_head_is_an_error_of_its_own(spool: Spool, keep: int) -> None:
    name = _store(spool, b"abc")
    spool.path(name).write_bytes(spool.path(name).read_bytes()[:keep])
    with pytest.raises(SpoolFileError):
        spool.describe(name)


def test_a_foreign_part_10_file_is_not_taken_for_ours(spool: Spool, tmp_path: Path) -> None:
    name = _store(spool, b"")
    head = spool.path(name).read_bytes()
    spool.path(name).write_bytes(head.replace(b"kind", b"knid"))
    with pytest.raises(SpoolFileError, match="another program"):
        spool.describe(name)


def test_only_old_leftovers_are_removed(spool: Spool) -> None:
    old = spool.folder / "ab" / ("ab" * 16 + ".00000000.part")
    young = spool.folder / "cd" / ("cd" * 16 + ".00000000.part")
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert spool.remove_stale_parts() == 1
    assert _files(spool) == [young]


def test_other_files_in_the_folder_are_not_instances(spool: Spool) -> None:
    (spool.folder / "ab" / "notes.dcm").write_bytes(b"")
    assert list(spool.ids()) == []


def test_a_removed_file_is_gone(spool: Spool) -> None:
    name = _store(spool, b"abc")
    assert name in spool
    spool.remove(name)
    assert name not in spool


def test_a_folder_that_fails_at_fsync_leaves_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Path) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr("orthanc_al.spool.writer.fsync_folder", fails)
    with pytest.raises(StorageError):
        _store(spool, b"abc", instance_id="0" * 32)
    assert _files(spool) == []


def test_a_uid_that_no_file_can_name_leaves_nothing(spool: Spool) -> None:
    with pytest.raises(struct.error), spool.open_writer(CR, "1." * 40000, EXPLICIT, ORIGIN):
        pass
    assert _files(spool) == []


def test_the_names_of_new_folders_are_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("orthanc_al.spool.folder.fsync_folder", synced.append)
    Spool(tmp_path / "var" / "spool", 0)
    assert {tmp_path, tmp_path / "var", tmp_path / "var" / "spool"} <= set(synced)


def test_a_place_where_no_spool_can_be_is_told_with_its_key() -> None:
    with pytest.raises(StorageError, match=r"storage\.spool"):
        Spool(Path("/proc/none/spool"), 0)
