"""ONNX Runtime: one network, run on the GPU where there is one, and what it really runs on.

ONNX Runtime falls back to the CPU without raising, and its lists of devices name what was compiled in;
only the session itself knows its provider. So CUDA is asked for only where the driver's library loads.
"""

import contextlib
import ctypes
import sys
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from orthanc_al.errors import ModelError, ProviderError
from orthanc_al.inference.contents import OUTPUTS

CUDA: Final = "CUDAExecutionProvider"
CPU: Final = "CPUExecutionProvider"

_ERRORS_ONLY: Final = 3


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the network gives for a batch.

    Attributes
    ----------
    logits
        float32, shape (n, k).
    embedding
        float32, shape (n, d).
    feature_map
        float32, shape (n, d, h, w).
    """

    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]
    feature_map: NDArray[np.float32]


class Session:
    """A network that is ready to run; threads may share it.

    Parameters
    ----------
    model
        Bytes of ``model.onnx``.
    threads
        Threads of one run on the CPU.
    require_gpu
        Refuse anything but CUDA.

    Raises
    ------
    ProviderError
        The GPU is required and not there.
    ModelError
        ONNX Runtime does not take the model.
    """

    def __init__(self, model: bytes, threads: int = 1, *, require_gpu: bool = False) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        wanted = _providers()
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=wanted)
        except Exception as error:  # a named border: ONNX Runtime's exceptions share no base of their own
            raise ModelError(
                f"ONNX Runtime {onnxruntime.__version__} can't load the model ({type(error).__name__})"
            ) from error
        self.provider: str = self._session.get_providers()[0]
        if require_gpu and self.provider != CUDA:
            raise ProviderError(
                f"inference.require_gpu is set and ONNX Runtime runs on {self.provider}: install the NVIDIA "
                "driver and the extra 'cuda13', or set inference.require_gpu = false"
            )
        self._input: str = self._session.get_inputs()[0].name

    def run(self, batch: NDArray[np.float32]) -> Outputs:
        """Run the network on a batch of shape (n, 1, size, size).

        Raises
        ------
        ModelError
            A logit or an embedding is not finite.
        """
        outputs = Outputs(*self._session.run(list(OUTPUTS), {self._input: batch}))
        if not (np.isfinite(outputs.logits).all() and np.isfinite(outputs.embedding).all()):
            raise ModelError("the model's output is not a finite number")
        return outputs


def _providers() -> list[str]:
    """Return the execution providers to ask for; CUDA only where a driver loads, since asking is slow."""
    if not cuda_driver_loads():
        return [CPU]
    # The libraries of the extra cuda13 lie in site-packages, where the loader does not look by itself.
    # What it can't find it prints on the standard output, which is for programs.
    with contextlib.redirect_stdout(sys.stderr):
        onnxruntime.preload_dlls()
    return [CUDA, CPU]


def cuda_driver_loads() -> bool:
    """Whether NVIDIA's driver library is on this machine and loads."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
