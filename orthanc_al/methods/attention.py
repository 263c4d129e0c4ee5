"""Attention over the images of a study: which of them count (Ilse, Tomczak, Welling: ICML 2018, eq. 8)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Attention:
    """Pooling by learned weights.

    Attributes
    ----------
    projection
        ``V``, shape (m, d).
    weight
        ``w``, shape (m,).
    """

    projection: NDArray[np.float32]
    weight: NDArray[np.float32]

    def weights(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return each image's share: softmax of ``w tanh(V h)``.

        Parameters
        ----------
        embeddings
            Shape (n, d).

        Returns
        -------
        NDArray[np.float64]
            Shape (n,), above 0, of sum 1.
        """
        scores = np.tanh(embeddings.astype(np.float64) @ self.projection.T) @ self.weight
        shares = np.exp(scores - scores.max())
        return np.asarray(shares / shares.sum(), np.float64)
