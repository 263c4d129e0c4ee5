"""A micro-batcher: what several threads ask of a network at the same time is run together.

Nobody waits for company. Who comes while a run is under way finds a place in the next one, so that batches
form by load alone, and a lone request costs two locks and no change of thread: the first of those that wait
runs for all of them.
"""

import threading
from collections import deque
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from orthanc_al.errors import NoMemoryError
from orthanc_al.inference.scorer import Outputs, Scorer


class _Request:
    """A batch that waits, then what came of it."""

    def __init__(self, batch: NDArray[np.float32]) -> None:
        self.batch = batch
        self.outputs: Outputs | None = None
        self.error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.outputs is not None or self.error is not None


class Batcher:
    """Runs a network for several threads; itself a `Scorer`.

    Parameters
    ----------
    scorer
        Runs the network.
    largest
        Images a run; a single request may have more, and is run as it is.
    """

    def __init__(self, scorer: Scorer, largest: int) -> None:
        self._scorer = scorer
        self._largest = largest
        self._waiting: deque[_Request] = deque()
        self._turn = threading.Lock()

    @property
    def provider(self) -> str:
        """What the network runs on."""
        return self._scorer.provider

    def run(self, batch: NDArray[np.float32]) -> Outputs:
        """Return what the network gives; what fails for this batch alone is raised here alone."""
        request = _Request(batch)
        self._waiting.append(request)
        with self._turn:  # whoever had it before may have run this one too
            while not request.done:
                self._run_next()
        if request.error is not None:
            raise request.error
        assert request.outputs is not None
        return request.outputs

    def _run_next(self) -> None:
        """Run the first of those that wait, together with what fits beside it."""
        together = [self._waiting.popleft()]
        shape, images = together[0].batch.shape[1:], len(together[0].batch)
        while (
            self._waiting
            and images + len(self._waiting[0].batch) <= self._largest
            and self._waiting[0].batch.shape[1:] == shape
        ):
            together.append(self._waiting.popleft())
            images += len(together[-1].batch)
        if len(together) == 1 or not self._run_as_one(together):
            for request in together:
                self._run_alone(request)

    def _run_as_one(self, together: list[_Request]) -> bool:
        """Run several requests as one; False where that fails, since one of them may be at fault."""
        try:
            outputs = self._scorer.run(np.concatenate([request.batch for request in together]))
        except Exception:  # noqa: BLE001 - a named border: each is run by itself and meets its own error
            return False
        ends = np.cumsum([0, *(len(request.batch) for request in together)])
        for request, (start, stop) in zip(together, pairwise(ends), strict=True):
            request.outputs = outputs.part(start, stop)
        return True

    def _run_alone(self, request: _Request) -> None:
        try:
            request.outputs = self._halved(request.batch)
        except Exception as error:  # noqa: BLE001 - a named border: it is raised in the thread that asked
            request.error = error

    def _halved(self, batch: NDArray[np.float32]) -> Outputs:
        """Run a batch, in halves where it does not fit into memory."""
        try:
            return self._scorer.run(batch)
        except NoMemoryError:
            if len(batch) == 1:
                raise
        middle = len(batch) // 2
        return self._halved(batch[:middle]).joined(self._halved(batch[middle:]))
