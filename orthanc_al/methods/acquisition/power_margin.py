"""Stochastic power margin: the uncertain cases more often, the certain ones not never."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from orthanc_al.methods.acquisition.protocol import Indices, Pool, Vector, best, gumbel

_LEAST_MARGIN = 1e-12


@dataclass(frozen=True, slots=True)
class PowerMargin:
    """g = beta ln u + Gumbel, with the margin u = min(p, 1 - p).

    The best b by g are a sample without replacement with probabilities proportional to u^beta (Kirsch
    et al., Stochastic batch acquisition, arXiv 2106.12059), which spreads a batch over neighbours that
    a plain ranking would all take. Where a head tells no cases apart, all u are equal and this is
    random sampling.

    Attributes
    ----------
    beta
        0 is random, infinity the plain margin.
    """

    beta: float = 4.0
    name: ClassVar[str] = "power_margin"

    def score(self, probabilities: ArrayLike, uniforms: ArrayLike) -> Vector:
        """Return beta ln u + Gumbel noise."""
        return self._merit(probabilities) + gumbel(uniforms)

    def chance(self, probabilities: ArrayLike, threshold: float) -> Vector:
        """Return 1 - exp(-exp(beta ln u - threshold)), the Gumbel distribution's tail."""
        if np.isneginf(threshold):
            return np.ones(np.shape(probabilities))
        return np.asarray(-np.expm1(-np.exp(self._merit(probabilities) - threshold)))

    def choose(self, pool: Pool, count: int) -> Indices:
        """Return a sample without replacement, by u^beta."""
        return best(self.score(pool.probabilities, pool.uniforms), pool.uniforms, count)

    def _merit(self, probabilities: ArrayLike) -> Vector:
        p = np.asarray(probabilities, np.float64)
        return np.asarray(self.beta * np.log(np.maximum(np.minimum(p, 1.0 - p), _LEAST_MARGIN)))
