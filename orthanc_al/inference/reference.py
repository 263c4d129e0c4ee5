"""What thresholds were computed on, where that is another network than the one of the package: its answers.

A package in half precision keeps the thresholds of the one that it was made from. It holds that one's
embeddings of a few images of noise, so that each machine can test its own half precision against them.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from orthanc_al.inference.head_swap import read_head
from orthanc_al.inference.manifest import Manifest
from orthanc_al.inference.package import ModelPackage
from orthanc_al.inference.scorer import Outputs

_PROBES: Final = 4


class Recorded:
    """Stands for the network that a package's thresholds were computed on, for the probes alone.

    Parameters
    ----------
    embedding
        What it gave for them, shape (n, d).
    model
        Bytes of the package's ``model.onnx``: the head is the same.
    provider
        What it ran on, and in which precision.
    """

    def __init__(self, embedding: NDArray[np.float32], model: bytes, provider: str) -> None:
        weight, bias = read_head(model)
        self._embedding = embedding
        self._logits = embedding @ weight + bias
        self.provider = provider

    def run(self, batch: NDArray[np.float32]) -> Outputs:
        """Return what was recorded for the first images of :func:`probes_for`, as many as the batch has."""
        return Outputs(
            self._logits[: len(batch)],
            self._embedding[: len(batch)],
            np.empty((len(batch), 0, 0, 0), np.float32),
        )


def recorded(package: ModelPackage) -> Recorded | None:
    """Return what stands for the network that the thresholds hold on; None else None."""
    if package.contents.reference is None:
        return None
    run = package.manifest.run
    provider = f"{run.thresholds_on} in {run.thresholds_precision}"
    return Recorded(package.contents.reference, package.contents.model, provider)


def probes_for(manifest: Manifest) -> NDArray[np.float32]:
    """Return noise of the network's input size, float32, shape (4, channels, size, size)."""
    spec = manifest.preprocessing
    shape = (_PROBES, spec.channels, spec.size, spec.size)
    # NumPy may change what a Generator gives, and never what this one does (NEP 19): packages rely on it.
    return np.random.RandomState(0).normal(size=shape).astype(np.float32)
