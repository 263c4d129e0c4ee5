"""BADGE: large and different gradients."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from orthanc_al.methods.acquisition.protocol import Indices, Pool, squared_distances


@dataclass(frozen=True, slots=True)
class Badge:
    """k-means++ seeding of the gradients that the likelier label would give (Ash et al., ICLR 2020).

    Of a logistic head that gradient is (p - [p > 1/2]) phi: as long as the margin is wide, in the direction
    of the embedding.
    """

    name: ClassVar[str] = "badge"

    def choose(self, pool: Pool, count: int) -> Indices:
        """Return the longest gradient, then draw by squared distance to the nearest one taken."""
        count = min(count, len(pool))
        if count == 0:
            return np.empty(0, np.intp)
        gradients = pool.margins[:, np.newaxis] * pool.embeddings
        generator = pool.generator()
        taken = [int(np.argmax((gradients**2).sum(1)))]
        nearest = squared_distances(gradients, gradients[taken])[:, 0]
        free = np.ones(len(pool), np.bool_)
        free[taken] = False
        while len(taken) < count:
            weight = np.where(free, nearest, 0.0)
            # Where all that is left is a copy of what was taken, any will do.
            weight = weight / weight.sum() if weight.sum() > 0.0 else free / free.sum()
            row = int(generator.choice(len(pool), p=weight))
            taken.append(row)
            free[row] = False
            nearest = np.minimum(nearest, squared_distances(gradients, gradients[row : row + 1])[:, 0])
        return np.array(taken, np.intp)
