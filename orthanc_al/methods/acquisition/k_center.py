"""k-center: cover the embedding space, whatever the model says."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from orthanc_al.methods.acquisition.protocol import Indices, Pool, squared_distances


@dataclass(frozen=True, slots=True)
class KCenter:
    """Farthest first from what has a label (Sener & Savarese, ICLR 2018, the greedy solution)."""

    name: ClassVar[str] = "k_center"

    def choose(self, pool: Pool, count: int) -> Indices:
        """Return one after another the row that is farthest from all taken and labelled ones."""
        count = min(count, len(pool))
        nearest = np.full(len(pool), np.inf)
        if len(pool.labelled):
            nearest = squared_distances(pool.embeddings, pool.labelled).min(1)
        taken: list[int] = []
        while len(taken) < count:
            row = int(np.argmax(nearest)) if np.isfinite(nearest).all() else int(np.argmax(pool.uniforms))
            taken.append(row)
            nearest = np.minimum(
                nearest, squared_distances(pool.embeddings, pool.embeddings[row : row + 1])[:, 0]
            )
            nearest[row] = -1.0
        return np.array(taken, np.intp)
