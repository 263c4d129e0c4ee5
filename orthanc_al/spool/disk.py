"""What the spool asks of the disk beside reading and writing."""

import ctypes
import os
from pathlib import Path
from typing import Final

from orthanc_al.observe import logger

_log = logger("spool")

# linux/fs.h: begin to write what is dirty. Flags that wait would take away an error that fsync has to tell.
_SYNC_FILE_RANGE_WRITE: Final = 2
# Not in Python's os, nor in every C library; the interpreter's lock is given up meanwhile.
_sync_file_range: Final = getattr(ctypes.CDLL(None), "sync_file_range", None)


def begin_to_write(handle: int, offset: int, count: int) -> None:
    """Have the system begin to write a part of a file to the disk, as sync_file_range(2) does.

    It promises nothing, which is why its answer is not looked at: durable is what fsync says is durable.
    It spreads what fsync would write at the end over the time in which the rest of the file arrives.
    """
    if _sync_file_range is not None:
        _sync_file_range(handle, ctypes.c_int64(offset), ctypes.c_int64(count), _SYNC_FILE_RANGE_WRITE)


def remove_and_close(path: Path | None, handle: int) -> None:
    """Remove a file, then close it (no descriptor: -1), whatever the disk says to it.

    In this order, so that its lock is let go only when nobody can find it any more. What can't be removed
    (a disk that became read-only, say) is told and stays: it is no instance.
    """
    try:
        if path is not None:
            path.unlink(missing_ok=True)
    except OSError as error:
        _log.error("unfinished_file_not_removed", file=path and path.name, error=str(error))
    finally:
        if handle >= 0:
            os.close(handle)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable (a rename alone is not)."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
