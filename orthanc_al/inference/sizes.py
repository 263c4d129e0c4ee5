"""Batches of a few fixed sizes, for a GPU: what is missing is filled up.

ONNX Runtime's ``Conv`` on CUDA plans its work by cuDNN for the shape that it gets, and keeps the plan of the
last one alone (``core/providers/cuda/nn/conv.cc``, since cuDNN 9; read in 1.20, others report it of 1.27).
Batches form by load, so that each run would plan all layers anew, which takes longer than the run. So each
size has a session of its own, whose shape never changes. A CPU plans nothing, and would pay for what is
filled up. ``make bench B="--only 'gpu: run'"`` measures both.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orthanc_al.inference.scorer import Outputs
from orthanc_al.inference.session import Session

LARGEST: Final = 32
"""Images a run on a GPU, where the package does not say."""

_SIZES: Final = (1, 8)  # a lone film; the slices that one worker asks for at a time


def sizes_up_to(largest: int) -> tuple[int, ...]:
    """Return the sizes that batches of up to ``largest`` images are run in, ascending."""
    return (*(size for size in _SIZES if size < largest), largest)


class Filled:
    """Runs a network in batches of one size; itself a `Scorer`.

    Parameters
    ----------
    session
        Runs the network, and nothing but this size.
    size
        Images a run.
    """

    def __init__(self, session: Session, size: int) -> None:
        self._session = session
        self.size = size

    @property
    def provider(self) -> str:
        """What the network runs on."""
        return self._session.provider

    def run(self, batch: NDArray[np.float32]) -> Outputs:
        """Run the network; the last batch is filled up with its last image, whose numbers are as good."""
        starts = range(0, len(batch), self.size)
        return reduce(Outputs.joined, (self._one(batch[start : start + self.size]) for start in starts))

    def _one(self, batch: NDArray[np.float32]) -> Outputs:
        missing = self.size - len(batch)
        if not missing:
            return self._session.run(batch)
        filled = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
        return self._session.run(filled).part(0, len(batch))


class FixedSizes:
    """Runs each batch in the smallest size that holds it; itself a `Scorer`.

    Parameters
    ----------
    each
        By size, ascending.
    input_name
        As `Session`.
    """

    def __init__(self, each: Sequence[Filled], input_name: str) -> None:
        self.each = tuple(each)
        self.input_name = input_name

    @property
    def provider(self) -> str:
        """What the network runs on."""
        return self.each[0].provider

    @property
    def largest(self) -> int:
        """Images a run at most."""
        return self.each[-1].size

    def run(self, batch: NDArray[np.float32]) -> Outputs:
        """Run the network on a batch of any size."""
        fitting = (one for one in self.each if one.size >= len(batch))
        return next(fitting, self.each[-1]).run(batch)
