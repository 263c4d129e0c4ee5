"""Plain uncertainty: the studies nearest to the border between the classes."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from orthanc_al.methods.acquisition.protocol import Indices, Pool, Vector, best


@dataclass(frozen=True, slots=True)
class Margin:
    """g = min(p, 1 - p) (Lewis & Gale, SIGIR 1994): a batch of it takes neighbours that say the same."""

    name: ClassVar[str] = "margin"

    def score(self, probabilities: ArrayLike, uniforms: ArrayLike) -> Vector:
        """Return the margins."""
        del uniforms
        p = np.asarray(probabilities, np.float64)
        return np.asarray(np.minimum(p, 1.0 - p))

    def chance(self, probabilities: ArrayLike, threshold: float) -> Vector:
        """Return 1 where the margin is above the threshold, else 0."""
        return (self.score(probabilities, probabilities) > threshold).astype(np.float64)

    def choose(self, pool: Pool, count: int) -> Indices:
        """Return the rows whose logits are nearest to 0."""
        return best(-np.abs(pool.logits), pool.uniforms, count)
