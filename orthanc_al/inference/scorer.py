"""What runs a network: ONNX Runtime in this process, or a server elsewhere."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orthanc_al.errors import InferenceError


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

    def part(self, start: int, stop: int) -> "Outputs":
        """Return what belongs to the images from ``start`` to ``stop``."""
        return Outputs(self.logits[start:stop], self.embedding[start:stop], self.feature_map[start:stop])

    def joined(self, other: "Outputs") -> "Outputs":
        """Return these and the ones of the images that follow."""
        return Outputs(
            np.concatenate([self.logits, other.logits]),
            np.concatenate([self.embedding, other.embedding]),
            np.concatenate([self.feature_map, other.feature_map]),
        )


class Scorer(Protocol):
    """Runs one network; threads may share it."""

    @property
    def provider(self) -> str:
        """What it really runs on, for people."""

    def run(self, batch: NDArray[np.float32]) -> Outputs:
        """Run the network on a batch of shape (n, channels, size, size).

        Raises
        ------
        ModelError
            The outputs are not finite numbers, or the batch does not fit the network.
        InferenceError
            It can't be run now.
        """


def parity_fault(reference: Outputs, other: Outputs, limit: float) -> str | None:
    """Return how two runs of one batch differ by more than thresholds bear, None where they don't.

    Parameters
    ----------
    limit
        Largest difference of a logit. A probability is the logistic of a logit, whose slope is at most
        1/4: a score moves by a quarter of it at most.
    """
    if reference.logits.shape != other.logits.shape or reference.embedding.shape != other.embedding.shape:
        return f"its outputs have shapes {other.logits.shape} and {other.embedding.shape}"
    gap = float(np.abs(reference.logits - other.logits).max())
    return None if gap <= limit else f"its logits differ by {gap:.2g}, at most {limit:g} is borne"


def prove(reference: Scorer, other: Scorer, probes: NDArray[np.float32], limit: float) -> None:
    """Run both on the same images.

    Raises
    ------
    InferenceError
        ``other`` can't stand for ``reference``: thresholds that were computed on one don't hold on it.
    """
    fault = parity_fault(reference.run(probes), other.run(probes), limit)
    if fault is not None:
        raise InferenceError(
            f"{other.provider} can't stand for {reference.provider}, on which the thresholds hold: {fault}"
        )
