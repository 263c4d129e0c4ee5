"""Writing one file of the spool so that it is there after a power cut, or not at all."""

import errno
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from orthanc_al.domain import Instance, Origin
from orthanc_al.errors import DiskFullError, StorageError
from orthanc_al.spool import part10
from orthanc_al.spool.disk import begin_to_write, fsync_folder, remove_and_close
from orthanc_al.spool.prepared import PreparedFile

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SEALED_BYTES: Final = 4 << 20  # of a larger one the CRC takes longer than the fsync that it spares
_AHEAD_BYTES: Final = 1 << 17  # written to the disk while the next ones come: less is left for the fsync


class SpoolWriter:
    """Takes the bytes of one data set; they count from `commit` on and from nothing before.

    As a context manager it removes what it wrote unless `commit` was called.

    Parameters
    ----------
    path
        The file's final name; its folder exists.
    part
        What it is until then: a name in the same folder for a file that is to be made, or a file whose name
        is durable already.
    instance
        What the ledger will know of it; ``size`` is filled in by `commit`.
    origin
        Who sent it.
    """

    def __init__(self, path: Path, part: Path | PreparedFile, instance: Instance, origin: Origin) -> None:
        prepared = part if isinstance(part, PreparedFile) else None
        self._path = path
        self._instance = instance
        self._size = 0
        self._ahead = 0  # bytes of the data set that the disk was told to write
        self._crc: int | None = None  # where the file is to prove by itself that it is whole
        self._file = -1 if prepared is None else prepared.handle
        self._name = None if prepared is None else prepared.path  # what there is to remove
        self._done = False
        try:
            self._head = part10.encode(instance, origin, sealed=prepared is not None)
            if isinstance(part, Path):
                with _disk_errors(instance.id):
                    self._file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
                self._name = part
            else:
                self._crc = zlib.crc32(self._head)
            self._write(memoryview(self._head))
        except BaseException:
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
        if self._size > _SEALED_BYTES:
            self._crc = None
        elif self._crc is not None:
            for part in parts:
                self._crc = zlib.crc32(part, self._crc)
        if self._size - self._ahead >= _AHEAD_BYTES:
            begin_to_write(self._file, self._ahead, self._size - self._ahead)
            self._ahead = self._size

    def commit(self) -> Instance:
        """Make the file durable under its own name, then return what it is.

        The order is what promise 1 rests on: the file's bytes, then its name, then the folder that
        holds the name. A prepared file has a durable name already: its bytes, with their seal, are all that
        is still to be forced to the disk, and `orthanc_al.spool.prepared.take_up` finds it under either name.
        A large one goes without a seal, and its move is made durable like another's.

        Raises
        ------
        DiskFullError, StorageError
            As `write`; the instance was not received.
        """
        try:
            with _disk_errors(self._instance.id):
                if self._crc is not None:
                    place, seal = part10.seal(self._head, self._size, self._crc)
                    os.lseek(self._file, place, os.SEEK_SET)
                    self._write(memoryview(seal))
                os.fsync(self._file)
                self._rename()
                self._close()  # and with it goes the lock of a prepared one, which has its own name now
                if self._crc is None:
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
        handle, self._file = self._file, -1
        remove_and_close(self._name, handle)

    def _close(self) -> None:
        handle, self._file = self._file, -1  # not closed twice: the number may be another thread's by then
        os.close(handle)

    def _rename(self) -> None:
        assert self._name is not None
        self._name.rename(self._path)
        self._name = self._path  # what `abort` removes where the name can't be made durable

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
