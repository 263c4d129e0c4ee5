"""Writing one file of the spool so that it is there after a power cut, or not at all."""

import ctypes
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from orthanc_al.domain import Instance, Origin
from orthanc_al.errors import DiskFullError, StorageError
from orthanc_al.spool import part10

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_AHEAD_BYTES: Final = 1 << 17  # written to the disk while the next ones come: less is left for the fsync
# linux/fs.h: begin to write what is dirty. Flags that wait would take away an error that fsync has to tell.
_SYNC_FILE_RANGE_WRITE: Final = 2
# Not in Python's os, nor in every C library; the interpreter's lock is given up meanwhile.
_sync_file_range: Final = getattr(ctypes.CDLL(None), "sync_file_range", None)


class SpoolWriter:
    """Takes the bytes of one data set; they count from `commit` on and from nothing before.

    As a context manager it removes what it wrote unless `commit` was called.

    Parameters
    ----------
    path
        The file's final name; its folder exists.
    part
        Its name while it is being written, in the same folder.
    instance
        What the ledger will know of it; ``size`` is filled in by `commit`.
    origin
        Who sent it.
    """

    def __init__(self, path: Path, part: Path, instance: Instance, origin: Origin) -> None:
        self._path = path
        self._part = part
        self._instance = instance
        self._size = 0
        self._ahead = 0  # bytes of the data set that the disk was told to write
        self._done = False
        head = part10.encode(instance, origin)  # before there is a file: names that don't fit leave none
        with _disk_errors(instance.id):
            self._file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        self._open = True
        try:
            self._write(memoryview(head))
        except StorageError:
            self.abort()
            raise

    @property
    def instance_id(self) -> str:
        """The id of this receive event."""
        return self._instance.id

    def write(self, chunk: bytes | memoryview) -> None:
        """Append bytes of the data set; raises as `write_all`."""
        self.write_all((memoryview(chunk),))

    def write_all(self, parts: Sequence[memoryview]) -> None:
        """Append pieces of the data set, many with one call of the system.

        Parameters
        ----------
        parts
            Views of bytes, at most 1024 (IOV_MAX).

        Raises
        ------
        DiskFullError
            No space is left.
        StorageError
            The disk answers with another error.
        """
        size = sum(part.nbytes for part in parts)
        with _disk_errors(self._instance.id):
            written = os.writev(self._file, parts)
        for part in parts if written < size else ():  # a disk that is nearly full takes a part of it
            if written < part.nbytes:
                self._write(part[written:])
            written = max(0, written - part.nbytes)
        self._size += size
        if self._size - self._ahead >= _AHEAD_BYTES:
            begin_to_write(self._file, self._ahead, self._size - self._ahead)
            self._ahead = self._size

    def commit(self) -> Instance:
        """Make the file durable under its own name, then return what it is.

        The order is what promise 1 rests on: the file's bytes, then its name, then the folder that
        holds the name.

        Raises
        ------
        DiskFullError, StorageError
            As `write`; the instance was not received.
        """
        try:
            with _disk_errors(self._instance.id):
                os.fsync(self._file)
                os.close(self._file)
                self._open = False
                self._part.rename(self._path)
                self._part = self._path  # what `abort` removes where the name can't be made durable
                fsync_folder(self._path.parent)
        except StorageError:
            self.abort()
            raise
        self._done = True
        return replace(self._instance, size=self._size)

    def abort(self) -> None:
        """Drop what was written; after `commit` there is nothing to drop."""
        if self._done:
            return
        self._done = True
        if self._open:
            os.close(self._file)
            self._open = False
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _write(self, view: memoryview) -> None:
        with _disk_errors(self._instance.id):
            while view.nbytes:
                view = view[os.write(self._file, view) :]


def begin_to_write(handle: int, offset: int, count: int) -> None:
    """Have the system begin to write a part of a file to the disk, as sync_file_range(2) does.

    It promises nothing, which is why its answer is not looked at: durable is what fsync says is durable.
    It spreads what fsync would write at the end over the time in which the rest of the file arrives.
    """
    if _sync_file_range is not None:
        _sync_file_range(handle, ctypes.c_int64(offset), ctypes.c_int64(count), _SYNC_FILE_RANGE_WRITE)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable (a rename alone is not)."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _disk_errors(instance_id: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(
                f"No space is left for instance {instance_id} in the spool: free some, or lower "
                "storage.keep_days."
            ) from error
        raise StorageError(f"Instance {instance_id} can't be written into the spool: {error}") from error
