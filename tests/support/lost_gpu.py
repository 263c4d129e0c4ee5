"""A GPU that fails for good, where none is: what the package's sessions run on says CUDA, and is the CPU.

``python -m tests.support.lost_gpu worker --parent PID --config FILE`` is a process of the service with it.
``LOST_GPU`` says of what it fails: ``a flat film`` (one without any contrast), or ``the start``.
"""

import os
import sys
import threading
from typing import Any

import numpy as np
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from orthanc_al.inference import running
from orthanc_al.inference.session import CPU, CUDA, Session
from orthanc_al.service import child

ILLEGAL = "CUDA failure 700: an illegal memory access was encountered ; GPU=0"


class Context:
    """What the sessions of a process share: one that fails in it takes it from all."""

    def __init__(self) -> None:
        self.lost = False
        self.fails_at_flat = False


class _OnGpu:
    """Stands for ONNX Runtime's session with a session on the CPU."""

    def __init__(self, real: Any, context: Context) -> None:
        self._real, self._context = real, context

    def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> Any:
        (batch,) = inputs.values()
        if self._context.fails_at_flat and (np.ptp(batch, axis=(1, 2, 3)) < 1e-6).any():
            self._context.lost = True
        if self._context.lost:
            raise Fail(ILLEGAL)
        return self._real.run(names, inputs)


def gpu(context: Context) -> type[Session]:
    """Return a session that is on a GPU, unless the CPU is asked for."""

    class OnGpu(Session):
        def __init__(self, model: bytes, threads: int = 1, *, cpu: bool = False, **_: object) -> None:
            super().__init__(model, threads, cpu=True)
            if not cpu:
                self._provider: str = CUDA
                self._session = _OnGpu(self._session, context)
            assert self.provider == (CPU if cpu else CUDA)

    return OnGpu


def main() -> int:
    """Be a process of the service."""
    context = Context()
    context.lost = os.environ["LOST_GPU"] == "the start"
    context.fails_at_flat = os.environ["LOST_GPU"] == "a flat film"
    running.Session = gpu(context)  # type: ignore[misc]
    assert threading.active_count() == 1, "what is loaded from here on has it"
    return child.main()


if __name__ == "__main__":
    sys.exit(main())
