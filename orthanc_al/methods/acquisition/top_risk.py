"""The likeliest positives: where positives are rare, a head needs some of them before it needs doubt."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from orthanc_al.methods.acquisition.protocol import Indices, Pool, Vector, best


@dataclass(frozen=True, slots=True)
class TopRisk:
    """g = p; there is no chance in it."""

    name: ClassVar[str] = "top_risk"

    def score(self, probabilities: ArrayLike, uniforms: ArrayLike) -> Vector:
        """Return the probabilities."""
        del uniforms
        return np.asarray(probabilities, np.float64)

    def chance(self, probabilities: ArrayLike, threshold: float) -> Vector:
        """Return 1 where p is above the threshold, else 0."""
        return (np.asarray(probabilities, np.float64) > threshold).astype(np.float64)

    def choose(self, pool: Pool, count: int) -> Indices:
        """Return the rows of the highest logits."""
        return best(pool.logits, pool.uniforms, count)
