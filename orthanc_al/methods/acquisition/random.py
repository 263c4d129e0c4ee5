"""Uniform sampling: what every other strategy is measured against, and the guard of a weak head."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from orthanc_al.methods.acquisition.protocol import Indices, Pool, Vector, best


@dataclass(frozen=True, slots=True)
class Random:
    """g is the case's noise, whatever the model says of it."""

    name: ClassVar[str] = "random"

    def score(self, probabilities: ArrayLike, uniforms: ArrayLike) -> Vector:
        """Return the noise."""
        del probabilities
        return np.asarray(uniforms, np.float64)

    def chance(self, probabilities: ArrayLike, threshold: float) -> Vector:
        """Return 1 - threshold for each."""
        return np.full(np.shape(probabilities), float(np.clip(1.0 - threshold, 0.0, 1.0)))

    def choose(self, pool: Pool, count: int) -> Indices:
        """Return rows in the order of their noise."""
        return best(pool.uniforms, pool.uniforms, count)
