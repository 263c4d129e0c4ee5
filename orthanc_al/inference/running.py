"""Packages that are loaded and ready: a promotion is taken up by asking for the new digest."""

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orthanc_al.domain import ModelRef
from orthanc_al.errors import PackageRefusedError
from orthanc_al.inference.head_swap import read_head
from orthanc_al.inference.package import ModelPackage, load_package
from orthanc_al.inference.session import Session


@dataclass(frozen=True, slots=True)
class RunningModel:
    """A verified package and its session.

    Attributes
    ----------
    head
        Weight of the last layer, shape (d, k): what class activation needs.
    """

    package: ModelPackage
    session: Session
    head: NDArray[np.float32]


class Models:
    """Loads packages when they are asked for, and keeps the last of each name.

    Parameters
    ----------
    threads, require_gpu
        As `Session` takes them.
    """

    def __init__(self, threads: int = 1, *, require_gpu: bool = False) -> None:
        self._threads = threads
        self._require_gpu = require_gpu
        self._lock = threading.Lock()
        self._running: dict[str, RunningModel] = {}

    def get(self, folder: Path, ref: ModelRef) -> RunningModel:
        """Return the package ``ref`` from ``folder``, loading it where another version runs.

        Raises
        ------
        PackageRefusedError
            The folder holds another package than the ledger says, or its digests do not hold.
        ProviderError, ModelError
            As `Session`.
        """
        with self._lock:
            running = self._running.get(ref.name)
            if running is None or running.package.ref.digest != ref.digest:
                running = self._load(folder, ref)
                self._running[ref.name] = running
            return running

    def providers(self) -> dict[str, str]:
        """Return the execution provider that each loaded model really runs on, by its name."""
        with self._lock:
            return {name: running.session.provider for name, running in self._running.items()}

    def _load(self, folder: Path, ref: ModelRef) -> RunningModel:
        package = load_package(folder)
        if package.ref.digest != ref.digest:
            raise PackageRefusedError(
                f"{folder} holds {package.ref}, and the ledger says {ref}: restore the package, or promote "
                "another one (`orthanc-al models list`)"
            )
        weight, _ = read_head(package.contents.model)
        session = Session(package.contents.model, self._threads, require_gpu=self._require_gpu)
        return RunningModel(package, session, weight)
