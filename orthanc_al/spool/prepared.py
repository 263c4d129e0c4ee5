"""Files that are in the spool, with a durable name, before there is anything to put into them.

A new file costs two fsyncs, one after the other: of its bytes, and of the folder that holds its name. Here
the names of many are made durable at once, by a thread of their own and before anybody waits for them, so
that a data set that goes into one of them waits for one fsync. The move to the name that readers know needs
none: in a journaling file system a rename is all or nothing, and whichever of its two names a file has after
a power cut, its id is in the name and its seal (`orthanc_al.spool.part10`) proves that it is whole.

Each is locked (flock) by the process that will fill it, which is how `take_up` knows those that are left.
"""

import fcntl
import os
import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orthanc_al.errors import SpoolFileError
from orthanc_al.observe import logger
from orthanc_al.spool import part10
from orthanc_al.spool.disk import fsync_folder

SUFFIX: Final = ".ready"
_RETRY_SECONDS: Final = 5.0

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
        self.path.unlink(missing_ok=True)
        os.close(self.handle)


class PreparedFiles:
    """Keeps some files ready.

    Parameters
    ----------
    folder
        Where they are; it exists, on the same file system as the places that they are moved to.
    count
        How many there are to be, at least 2.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        self._files: deque[PreparedFile] = deque()
        self._wanted = threading.Event()
        self._stopping = threading.Event()
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
        try:
            file = self._files.popleft()
        except IndexError:
            file = None
        if len(self._files) <= self._count // 2:
            self._wanted.set()
        return file

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
            while len(self._files) + len(made) < self._count:
                made.append(_made(self._folder))
            fsync_folder(self._folder)
        except OSError as error:  # whoever wants to write meanwhile makes her own file, and is told why not
            _log.error("no_files_prepared", folder=str(self._folder), error=str(error))
            for file in made:
                file.drop()
            return False
        for file in made:
            # Between its making and its lock somebody who takes up what is left may have removed it.
            if os.fstat(file.handle).st_nlink:
                self._files.append(file)
            else:
                file.drop()
        return True


def _made(folder: Path) -> PreparedFile:
    instance_id = uuid.uuid4().hex
    path = folder / f"{instance_id}{SUFFIX}"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    file = PreparedFile(instance_id, path, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return file  # who took it up in this moment removes it, which is looked at before it is used
    except OSError:
        file.drop()  # a file system without locks
        raise
    return file


def take_up(folder: Path, place: Callable[[str], Path]) -> int:
    """Move whole files that nobody holds to where they belong, and remove the others.

    What is whole may have been acknowledged: its move was lost by a power cut. What is not was never.

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
    """
    changed: set[Path] = set()
    moved = 0
    for path in folder.glob(f"*{SUFFIX}"):
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
    """Move a whole file, remove another one; leave alone what somebody holds."""
    with path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if not part10.is_whole(file):
            path.unlink()
            return False
        os.fsync(file)  # of a process that was killed its bytes may not be on the disk
        path.rename(target)
        return True
