"""ONNX Runtime without us: a network whose inputs and outputs stay on its device, and who runs its nodes."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from orthanc_al.inference.contents import OUTPUTS
from orthanc_al.inference.session import CPU, CUDA, Provider, Session, options, providers

Placement = dict[str, Counter[str]]
"""How many nodes of each operator a provider runs, by the provider."""


class Bound:
    """A network whose input and outputs lie on the device that runs it, at places that stay.

    Parameters
    ----------
    batch
        The input, and the only shape that it takes.
    graph
        Run it as a CUDA graph, which ONNX Runtime records in the first runs and repeats from then on.

    Raises
    ------
    Exception
        ONNX Runtime's own, where a CUDA graph can't be had: not all nodes are CUDA's, say.
    """

    def __init__(
        self, model: bytes, batch: NDArray[np.float32], threads: int, *, graph: bool = False
    ) -> None:
        wanted: list[Provider] = [(CUDA, {"enable_cuda_graph": "1"})] if graph else providers()
        self._session = onnxruntime.InferenceSession(
            model, options(threads), providers=wanted, enable_fallback=0
        )
        self.provider: str = self._session.get_providers()[0]
        self.device = "cpu" if self.provider == CPU else "cuda"
        self._batch = batch
        self._input = onnxruntime.OrtValue.ortvalue_from_numpy(batch, self.device, 0)
        self._outputs = [self._place(shape) for shape in _shapes(model, batch)]
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_input(self._session.get_inputs()[0].name, self._input)
        for output, place in zip(OUTPUTS, self._outputs, strict=True):
            self._binding.bind_ortvalue_output(output, place)

    def _place(self, shape: tuple[int, ...]) -> Any:
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(shape), np.float32, self.device, 0)

    def run(self) -> None:
        """Run the network on what lies on the device."""
        self._session.run_with_iobinding(self._binding)

    def run_with_copies(self) -> list[NDArray[np.float32]]:
        """Bring the batch there, run the network, and fetch the outputs: logits first."""
        self._input.update_inplace(self._batch)
        self.run()
        return [place.numpy() for place in self._outputs]


def _shapes(model: bytes, batch: NDArray[np.float32]) -> list[tuple[int, ...]]:
    """Return the outputs' shapes, by the CPU: a session with a CUDA graph runs nothing that is not bound."""
    outputs = Session(model, cpu=True).run(batch)
    return [getattr(outputs, name).shape for name in OUTPUTS]


def placement(model: bytes, batch: NDArray[np.float32], *, tensorrt: bool = False) -> Placement:
    """Return which provider runs which nodes of a network, by ONNX Runtime's profile of a run."""
    how = options(1)
    how.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        how.profile_file_prefix = str(Path(folder) / "run")
        session = onnxruntime.InferenceSession(
            model, how, providers=providers(tensorrt=tensorrt), enable_fallback=0
        )
        session.run(None, {session.get_inputs()[0].name: batch})
        return placed(json.loads(Path(session.end_profiling()).read_text()))


def placed(events: Iterable[Mapping[str, Any]]) -> Placement:
    """Return which provider ran which nodes, of the events of a profile."""
    found: Placement = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            told = event["args"]
            found.setdefault(told["provider"], Counter())[told["op_name"]] += 1
    return found
