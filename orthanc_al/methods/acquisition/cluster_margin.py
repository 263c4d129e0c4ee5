"""Cluster-margin: uncertain studies, spread over clusters of look."""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from orthanc_al.methods.acquisition.margin import Margin
from orthanc_al.methods.acquisition.protocol import Indices, Pool

_CANDIDATES: Final = 5


@dataclass(frozen=True, slots=True)
class ClusterMargin:
    """The 5b smallest margins, by turns of their clusters, the smallest cluster first.

    Citovsky et al., Batch active learning at scale, NeurIPS 2021; clusters by average linkage, as many as
    questions.
    """

    name: ClassVar[str] = "cluster_margin"

    def choose(self, pool: Pool, count: int) -> Indices:
        """Return the chosen rows, in the order of the turns."""
        candidates = Margin().choose(pool, _CANDIDATES * count)
        if len(candidates) <= 1 or count == 0:
            return candidates[:count]
        cluster = fcluster(linkage(pool.embeddings[candidates], "average"), count, "maxclust")
        size = np.bincount(cluster)[cluster]
        turn = np.empty(len(candidates), np.int64)
        for number in np.unique(cluster):
            rows = np.flatnonzero(cluster == number)  # the smallest margin first
            turn[rows] = np.arange(len(rows))
        return np.asarray(candidates[np.lexsort((cluster, size, turn))[:count]])
