"""The folder of the spool: where its files are, and what can be had from them."""

import hashlib
import mmap
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from orthanc_al.domain import Instance, Origin
from orthanc_al.errors import DiskFullError, SpoolFileError, StorageError
from orthanc_al.observe import now
from orthanc_al.spool import part10
from orthanc_al.spool.disk import fsync_folder
from orthanc_al.spool.prepared import SUFFIX, PreparedFiles, take_up, waiting
from orthanc_al.spool.writer import SpoolWriter

_ID: Final = re.compile(r"[0-9a-f]{32}")
_STALE_SECONDS: Final = 3600.0
_PREPARED: Final = "ready"  # folder of the files that are made before anything comes
_FIRST_READ: Final = 4096  # holds the File Meta Information of all but odd files


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """An open file of the spool.

    Attributes
    ----------
    path
        A Part 10 file, which any DICOM program reads.
    data_set_offset
        Bytes before the data set.
    data_set
        The data set's bytes as they came, mapped read-only.
    """

    path: Path
    instance: Instance
    origin: Origin
    data_set_offset: int
    data_set: memoryview

    @property
    def transfer_syntax_uid(self) -> str:
        """How the data set is encoded."""
        return self.instance.transfer_syntax_uid


class Spool:
    """A folder with one file a receive event, named by its id.

    Parameters
    ----------
    folder
        Made where it is missing, with 256 folders in it by the id's first two digits, and one for files that
        are prepared.
    min_free_bytes
        Where the disk has less free, nothing is taken in.

    Raises
    ------
    StorageError
        It can't be made.
    """

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        self.folder = folder
        self._ready = folder / _PREPARED
        self._min_free = min_free_bytes
        self._prepared: PreparedFiles | None = None
        try:
            _make(folder)
        except OSError as error:
            raise StorageError(f"The spool can't be in {folder} (storage.spool): {error}") from error

    def free_bytes(self) -> int:
        """Return the space that is left on the spool's disk, in bytes."""
        return shutil.disk_usage(self.folder).free

    def prepare(self, count: int) -> None:
        """Have ``count`` files ready for what comes, so that each waits for one fsync and not for two.

        Of one process, the listener. Only for file systems on which a rename is all or nothing after a power
        cut (ext4, XFS, btrfs, ZFS). 0: none.
        """
        self.stop_preparing()
        if count:
            self._prepared = PreparedFiles(self._ready, count)
            self._prepared.start()

    def stop_preparing(self) -> None:
        """Remove the files that were prepared and not used."""
        if self._prepared is not None:
            self._prepared.stop()
            self._prepared = None

    def take_up_prepared(self) -> int:
        """Bring files to their places whose move a power cut or a kill undid; return how many that were.

        To be called before anybody asks for an instance.

        Raises
        ------
        StorageError
            The disk does not let us.
        """
        return take_up(self._ready, self.path)

    def to_be_taken_up(self) -> tuple[list[str], list[str]]:
        """Return the ids of files that `take_up_prepared` would move, and of those that it found damaged.

        Raises
        ------
        StorageError
            The folder can't be read.
        """
        return waiting(self._ready)

    def open_writer(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        origin: Origin,
        *,
        instance_id: str | None = None,
    ) -> SpoolWriter:
        """Begin a file.

        Parameters
        ----------
        sop_class_uid, sop_instance_uid, transfer_syntax_uid
            As the sender named them; what the data set says is not looked at.
        origin
            Who sent it.
        instance_id
            None for a fresh one (each receive event is its own); objects that we make ourselves pass
            `own_instance_id`, so that making one again overwrites it.

        Raises
        ------
        DiskFullError
            Less is free than the limit.
        """
        free = self.free_bytes()
        if free < self._min_free:
            raise DiskFullError(
                f"{free / 1e9:.2f} GB are free on the spool's disk and storage.min_free_gb asks for "
                f"{self._min_free / 1e9:.2f}: free some, or lower storage.keep_days."
            )
        keeper = self._prepared if instance_id is None else None
        prepared = None if keeper is None else keeper.take()
        instance = Instance(
            id=instance_id or (prepared.instance_id if prepared is not None else uuid.uuid4().hex),
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            size=0,
            received_at=now(),
        )
        path = self.path(instance.id)
        part = prepared or path.with_suffix(f".{uuid.uuid4().hex[:8]}.part")
        return SpoolWriter(path, part, instance, origin)

    def path(self, instance_id: str) -> Path:
        """Return where the file of an instance is or would be.

        Raises
        ------
        SpoolFileError
            It is no id: nothing outside of the spool can be named.
        """
        if not _ID.fullmatch(instance_id):
            raise SpoolFileError(f"{instance_id!r} is no id of an instance (32 hexadecimal digits)")
        return self.folder / instance_id[:2] / f"{instance_id}.dcm"

    @contextmanager
    def open(self, instance_id: str) -> Iterator[SpooledFile]:
        """Open a file for reading, its data set mapped into memory.

        Raises
        ------
        SpoolFileError
            There is none, or it is not one that the spool wrote.
        """
        path = self.path(instance_id)
        meta, size = self._head(instance_id)
        data_set = memoryview(b"")
        if size > meta.data_set_offset:
            with path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            # Not closed by hand: an exception on its way up may still hold a slice. It goes with the last.
            data_set = memoryview(mapped)[meta.data_set_offset :]
        yield SpooledFile(path, meta.instance, meta.origin, meta.data_set_offset, data_set)

    def data_set(self, instance_id: str) -> memoryview:
        """Return a file's data set mapped into memory, with no look at the rest of the file.

        Raises
        ------
        SpoolFileError
            As `open`, but for what only its File Meta Information would tell.
        """
        try:
            with self.path(instance_id).open("rb", buffering=0) as file:
                mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:  # an empty file can't be mapped
            raise SpoolFileError(
                f"The file of instance {instance_id} can't be read from the spool: {error}"
            ) from error
        return mapped[part10.meta_length(bytes(mapped[:144])) :]

    def describe(self, instance_id: str) -> tuple[Instance, Origin]:
        """Return what the ledger's row is made of, from the file alone.

        Raises
        ------
        SpoolFileError
            As `open`.
        """
        meta, _ = self._head(instance_id)
        return meta.instance, meta.origin

    def __contains__(self, instance_id: str) -> bool:
        # After a power cut that of an acknowledged one may be where it was prepared, until it is taken up.
        # There first: it moves from there to its own place.
        return self._prepared_path(instance_id).is_file() or self.path(instance_id).is_file()

    def ids(self) -> Iterator[str]:
        """Yield the id of each file, in no order."""
        for path in self.folder.glob("??/*.dcm"):
            if _ID.fullmatch(path.stem):
                yield path.stem

    def remove(self, instance_id: str) -> None:
        """Remove a file; where there is none, nothing happens."""
        path = self.path(instance_id)
        self._prepared_path(instance_id).unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def _prepared_path(self, instance_id: str) -> Path:
        return self._ready / f"{instance_id}{SUFFIX}"

    def remove_stale_parts(self) -> int:
        """Remove what interrupted writers left behind; return how many files that were.

        Nothing of it was ever acknowledged. Files written to within the last hour stay, since another
        process may be at them.
        """
        oldest = time.time() - _STALE_SECONDS
        removed = 0
        for path in self.folder.glob("??/*.part"):
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # its writer has just finished
        return removed

    def _head(self, instance_id: str) -> tuple[part10.FileMeta, int]:
        """Return the file's meta information, with the data set's size filled in, and the file's size."""
        try:
            with self.path(instance_id).open("rb") as file:
                head = file.read(_FIRST_READ)
                missing = part10.meta_length(head) - len(head)
                if missing > 0:
                    head += file.read(missing)
                size = file.seek(0, 2)
        except OSError as error:
            raise SpoolFileError(
                f"The file of instance {instance_id} can't be read from the spool: {error}"
            ) from error
        meta = part10.decode(head, instance_id)
        instance = replace(meta.instance, size=size - meta.data_set_offset)
        return replace(meta, instance=instance), size


def _make(folder: Path) -> None:
    """Make the folder and those in it, and make the names durable up to the first that was there."""
    made = [place for place in (folder, *folder.parents) if not place.is_dir()]
    folder.mkdir(parents=True, exist_ok=True)
    names = (_PREPARED, *(f"{number:02x}" for number in range(256)))
    parts = [part for name in names if not (part := folder / name).is_dir()]
    for part in parts:
        part.mkdir(exist_ok=True)
    if parts:
        fsync_folder(folder)
    for place in made:
        fsync_folder(place.parent)


def own_instance_id(sop_instance_uid: str) -> str:
    """Return the instance id of an object that we made ourselves.

    It derives from the SOP Instance UID, so that a stage that runs twice has one file and one row.
    """
    return hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:32]
