"""Files that are in the spool, with a durable name, before there is anything to put into them.

A new file costs two fsyncs, one after the other: of its bytes, and of the folder that holds its name. Here
the names of many are made durable at once, by a thread of their own and before anybody waits for them, so
that a data set that goes into one of them waits for one fsync. The move to the name that readers know needs
none: in a journaling file system a rename is all or nothing, and whichever of its two names a file has after
a power cut, its id is in the name and its seal (`orthanc_al.spool.part10`) proves that it is whole.

Each is locked (flock) by the process that will fill it, which is how `take_up` knows those that are left; the
folder is locked while files are made in it or taken up, so that nobody asks for a file that another is at.
"""

import errno
import fcntl
import os
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orthanc_al.errors import SpoolFileError, StorageError
from orthanc_al.observe import logger
from orthanc_al.spool import part10
from orthanc_al.spool.disk import fsync_folder, remove_and_close
from orthanc_al.spool.part10 import Seal

SUFFIX: Final = ".ready"
DAMAGED: Final = ".damaged"
_LOCK: Final = ".lock"
_RETRY_SECONDS: Final = 5.0
_READS_ONLY: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})

_log = logger("spool")


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """An empty file, open for writing and locked; its name is durable.

    Attributes
    ----------
    handle
        Its descriptor.
    """

    instance_id: str
    path: Path
    handle: int

    def drop(self) -> None:
        """Remove it, then let go of it: nobody may take up what its owner gave up."""
        remove_and_close(self.path, self.handle)


class PreparedFiles:
    """Keeps some files ready.

    Parameters
    ----------
    folder
        Where they are; it exists, on the same file system as the places that they are moved to.
    count
        How many there are to be; each is an open descriptor.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        self._files: deque[PreparedFile] = deque()
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._failing = False  # told once, not every few seconds
        self._thread = threading.Thread(target=self._run, name="prepared-files", daemon=True)

    def start(self) -> None:
        """Make the first ones, then see to it that there are always some."""
        self._fill()
        self._thread.start()

    def stop(self) -> None:
        """Make no more and remove those that are left."""
        self._stopping.set()
        self._wanted.set()
        self._thread.join()
        while (file := self.take()) is not None:
            file.drop()

    def take(self) -> PreparedFile | None:
        """Return one, which is the caller's from now on; None where there is none just now."""
        file = self._next()
        while file is not None and not os.fstat(file.handle).st_nlink:
            file.drop()  # somebody emptied the folder
            file = self._next()
        if len(self._files) <= self._count // 2:
            self._wanted.set()
        return file

    def _next(self) -> PreparedFile | None:
        try:
            return self._files.popleft()
        except IndexError:
            return None

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._stopping.is_set():
                return
            if not self._fill():
                self._stopping.wait(_RETRY_SECONDS)

    def _fill(self) -> bool:
        """Make as many as are missing; return False where the disk does not let us."""
        made: list[PreparedFile] = []
        try:
            with _locked(self._folder):
                while len(self._files) + len(made) < self._count:
                    made.append(_made(self._folder))
                    fcntl.flock(made[-1].handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fsync_folder(self._folder)
        except OSError as error:  # whoever wants to write meanwhile makes her own file, and is told why not
            if not self._failing:
                _log.error("no_files_prepared", folder=str(self._folder), error=str(error))
            self._failing = True
            for file in made:
                file.drop()
            return False
        self._failing = False
        self._files.extend(made)
        return True


def _made(folder: Path) -> PreparedFile:
    instance_id = uuid.uuid4().hex
    path = folder / f"{instance_id}{SUFFIX}"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    return PreparedFile(instance_id, path, handle)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait for, then hold what says that somebody makes files there or takes them up."""
    # A file, since NFS locks none that is not open for writing.
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def waiting(folder: Path) -> tuple[list[str], list[str]]:
    """Return the ids of whole files that nobody holds and that are to be taken up, and of damaged ones.

    Raises
    ------
    StorageError
        The folder can't be read.
    """
    try:
        with _locked(folder):  # or whoever takes them up now would find ours, and leave them
            whole = [path.stem for path in _files(folder, SUFFIX) if _is_left(path)]
    except OSError as error:
        raise StorageError(f"What was prepared in {folder} can't be looked at: {error}") from error
    return whole, [path.stem for path in _files(folder, DAMAGED)]


def _is_left(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _is_free(file.fileno()) and part10.seal_of(file) is Seal.HOLDS
    except FileNotFoundError:
        return False  # its writer has just finished


def take_up(folder: Path, place: Callable[[str], Path]) -> int:
    """Move whole files that nobody holds to where they belong, and remove those that were never finished.

    What is whole may have been acknowledged: its move was lost by a power cut. What bears no seal was not.
    What bears one that does not hold is kept, as ``ID.damaged``: who can tell which of the two it was.
    Whoever comes meanwhile waits until it is done.

    Parameters
    ----------
    folder
        As of `PreparedFiles`.
    place
        The path of an instance's file, from its id.

    Returns
    -------
    int
        Number of files moved.

    Raises
    ------
    StorageError
        The folder can't be read, or what was moved can't be made durable.
    """
    if not _files(folder, SUFFIX):
        return 0
    try:
        with _locked(folder):
            return _take_up(folder, place)
    except OSError as error:
        if error.errno in _READS_ONLY:
            return 0  # not the work of a process that only reads the spool; `doctor` tells if nobody does it
        raise StorageError(
            f"What was prepared in {folder} (storage.spool) can't be taken up: {error}"
        ) from error


def _take_up(folder: Path, place: Callable[[str], Path]) -> int:
    changed: set[Path] = set()
    moved = 0
    for path in _files(folder, SUFFIX):
        try:
            target = place(path.stem)
            if _taken_up(path, target):
                moved += 1
                changed |= {folder, target.parent}
        except FileNotFoundError:
            continue  # its writer has just finished
        except (OSError, SpoolFileError) as error:  # it stays: the next start tries again
            _log.error("prepared_file_not_taken_up", file=path.name, error=str(error))
    for one in changed:
        fsync_folder(one)
    if moved:
        _log.warning("prepared_files_taken_up", files=moved)
    return moved


def _taken_up(path: Path, target: Path) -> bool:
    """Move a whole file, remove one without a seal; leave alone what somebody holds."""
    with path.open("rb") as file:
        if not _is_free(file.fileno()):
            return False
        seal = part10.seal_of(file)
        if seal is Seal.HOLDS:
            os.fsync(file)  # of a process that was killed its bytes may not be on the disk
            path.rename(target)
            return True
        if seal is Seal.BROKEN:
            path.rename(path.with_suffix(DAMAGED))
            _log.error("prepared_file_damaged", instance=path.stem)
            return False
        size = os.fstat(file.fileno()).st_size
        path.unlink()
        if size:
            _log.info("unfinished_file_removed", instance=path.stem, bytes=size)
        return False


def _is_free(handle: int) -> bool:
    """Whether nobody held the lock; it is held by this descriptor then."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _files(folder: Path, suffix: str) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            return sorted(Path(one.path) for one in found if one.name.endswith(suffix))
    except OSError as error:  # a glob would return nothing where it may not look
        raise StorageError(f"The folder {folder} (storage.spool) can't be read: {error}") from error
