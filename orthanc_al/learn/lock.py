"""One process at a time learns for a model: two would write the same folders."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from orthanc_al.errors import LearningBusyError

_LOCK: Final = ".learning"


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of a model's folder; a process that dies lets go of it.

    Parameters
    ----------
    folder
        ``storage.models``.
    name
        Of the model.

    Raises
    ------
    LearningBusyError
        Another process has it.
    """
    own = folder / name
    own.mkdir(parents=True, exist_ok=True)
    with (own / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LearningBusyError(
                f"Another process is learning for {name} (the learner, or `orthanc-al retrain`): wait "
                "for its end, and ask again."
            ) from error
        yield
