"""ONNX Runtime: one network, run on the GPU where there is one, and what it really runs on.

ONNX Runtime falls back to the CPU without raising, and its lists of devices name what was compiled in;
only the session itself knows its provider. So CUDA is asked for only where the driver's library loads.
It also goes to the CPU in the middle of the work when a provider fails, and says so on the standard output
alone: that is turned off, since thresholds hold on the provider that was tested.
"""

import contextlib
import ctypes
import re
import sys
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from orthanc_al.errors import DeviceLostError, InferenceError, ModelError, NoMemoryError, ProviderError
from orthanc_al.inference import device
from orthanc_al.inference.contents import OUTPUTS
from orthanc_al.inference.scorer import Outputs
from orthanc_al.observe import logger

TENSORRT: Final = "TensorrtExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
CPU: Final = "CPUExecutionProvider"

Provider = str | tuple[str, dict[str, str]]
"""An execution provider, and its options where it has some."""

_CUDA_OPTIONS: Final = {
    # Each session has memory of its own, and several share a GPU: no more than is asked for. The default
    # takes powers of two, which pays where shapes change; here they are fixed (`orthanc_al.inference.sizes`).
    "arena_extend_strategy": "kSameAsRequested",
}
_ERRORS_ONLY: Final = 3
_TOLD: Final = 200  # characters of ONNX Runtime's own words: the last ones say why, behind where
# ONNX Runtime tells of memory in words alone: its own arena, CUDA, the C++ library.
_NO_MEMORY: Final = re.compile(r"allocate memory|out of memory|bad_?alloc", re.IGNORECASE)

_log = logger("inference")


class Session:
    """A network that is ready to run; threads may share it.

    Parameters
    ----------
    model
        Bytes of ``model.onnx``.
    threads
        Threads of one run on the CPU.
    require_gpu
        Refuse anything but CUDA or TensorRT.
    tensorrt
        Ask for TensorRT before CUDA; it compiles the network when it is loaded.
    cpu
        Ask for the CPU alone.

    Raises
    ------
    ProviderError
        The GPU is required and not there.
    ModelError
        ONNX Runtime does not take the model.
    """

    def __init__(
        self,
        model: bytes,
        threads: int = 1,
        *,
        require_gpu: bool = False,
        tensorrt: bool = False,
        cpu: bool = False,
    ) -> None:
        self._session = _loaded(model, options(threads), [CPU] if cpu else providers(tensorrt=tensorrt))
        self._provider: str = self._session.get_providers()[0]
        if require_gpu and self._provider == CPU:
            raise ProviderError(
                f"inference.require_gpu is set and ONNX Runtime runs on {self._provider}: install the NVIDIA "
                "driver and the extra 'cuda13', or set inference.require_gpu = false"
            )
        self.input_name: str = self._session.get_inputs()[0].name
        self._ran: NDArray[np.float32] | None = None  # on a GPU: an image that it is known to run

    @property
    def provider(self) -> str:
        """The execution provider, as the session itself names it."""
        return self._provider

    def run(self, batch: NDArray[np.float32]) -> Outputs:
        """Run the network on a batch of shape (n, channels, size, size).

        Raises
        ------
        ModelError
            A logit or an embedding is not finite, or the batch does not fit the network.
        NoMemoryError
            The batch does not fit into memory.
        InferenceError
            The device failed.
        DeviceLostError
            It runs nothing any more, whatever it is.
        """
        try:
            outputs = Outputs(*self._session.run(list(OUTPUTS), {self.input_name: batch}))
        except Exception as error:  # a named border: as above
            fault = _fault(error)
            if type(fault) is InferenceError and self._is_lost(len(batch)):
                raise DeviceLostError(
                    f"{self._provider} runs nothing any more in this process ({_told(error)}); where a new "
                    "one does not help, the reason is in the system's log (NVRM: Xid)"
                ) from error
            raise fault from error
        if self._ran is None and self._provider != CPU:
            self._ran = batch[:1].copy()  # a package's first run is of noise (`probes_for`)
        if not (np.isfinite(outputs.logits).all() and np.isfinite(outputs.embedding).all()):
            raise ModelError("the model's output is not a finite number")
        return outputs

    def _is_lost(self, images: int) -> bool:
        """Whether the device failed for good: what it ran before, as many images as now, it runs no more."""
        if self._provider == CPU:
            return False
        if self._ran is None:  # it may be the package's own fault, which is not that of the others
            return not device.answers(providers())
        try:
            self._session.run(list(OUTPUTS), {self.input_name: np.repeat(self._ran, images, axis=0)})
        except Exception:  # noqa: BLE001 - a named border: as above
            return True
        return False


def options(threads: int) -> onnxruntime.SessionOptions:
    """Return how a network is run on the CPU, by that many threads."""
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = threads
    made.inter_op_num_threads = 1
    made.log_severity_level = _ERRORS_ONLY
    # Threads that wait by spinning take the cores from those that decode.
    made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return made


def _loaded(
    model: bytes, how: onnxruntime.SessionOptions, wanted: list[Provider]
) -> onnxruntime.InferenceSession:
    """Return ONNX Runtime's session with the first of the providers that takes the network."""
    while True:
        try:
            return onnxruntime.InferenceSession(model, how, providers=wanted, enable_fallback=0)
        except Exception as error:  # a named border: ONNX Runtime's exceptions share no base of their own
            if len(wanted) == 1:
                raise ModelError(
                    f"ONNX Runtime {onnxruntime.__version__} can't load the model ({_told(error)})"
                ) from error
            failed, *wanted = wanted
            name = failed if isinstance(failed, str) else failed[0]
            _log.warning("provider_failed", provider=name, error=_told(error))


def _fault(error: Exception) -> ModelError:
    """Return what a run that failed is to us."""
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        return NoMemoryError(f"the model does not fit into memory with a batch ({_told(error)})")
    if type(error).__name__ == "InvalidArgument":
        return ModelError(f"the model does not take what the preprocessing makes ({_told(error)})")
    return InferenceError(f"ONNX Runtime can't run the model ({_told(error)})")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[-_TOLD:]}"


def providers(*, tensorrt: bool = False) -> list[Provider]:
    """Return the execution providers to ask for; CUDA only where a driver loads, since asking is slow."""
    if not cuda_driver_loads():
        return [CPU]
    # The libraries of the extra cuda13 lie in site-packages, where the loader does not look by itself.
    # What it can't find it prints on the standard output, which is for programs.
    with contextlib.redirect_stdout(sys.stderr):
        onnxruntime.preload_dlls()
    return [*([TENSORRT] if tensorrt else []), (CUDA, _CUDA_OPTIONS), CPU]


def cuda_driver_loads() -> bool:
    """Whether NVIDIA's driver library is on this machine and loads."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
