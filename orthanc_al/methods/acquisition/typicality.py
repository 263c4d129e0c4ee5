"""Typicality: the most usual study of each cluster, for a start without any label."""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from scipy.cluster.vq import kmeans2

from orthanc_al.methods.acquisition.protocol import Indices, Pool, Vector, squared_distances

_NEIGHBOURS: Final = 20


@dataclass(frozen=True, slots=True)
class Typicality:
    """TypiClust (Hacohen, Dekel & Weinshall, Active learning on a budget, ICML 2022).

    As many clusters as there will be labels; of the largest ones that hold no label yet, each gives its
    most typical study: the one with the smallest mean distance to its neighbours.

    Attributes
    ----------
    most_clusters
        Clusters are never more than this: beyond it they are single studies.
    """

    most_clusters: int = 100
    name: ClassVar[str] = "typicality"

    def choose(self, pool: Pool, count: int) -> Indices:
        """Return the chosen rows, by clusters: those without a label first, then the largest."""
        count = min(count, len(pool))
        if count == 0:
            return np.empty(0, np.intp)
        rows = np.concatenate([pool.embeddings, pool.labelled])
        different = len(np.unique(rows, axis=0))
        wanted = min(different, max(count, min(len(pool.labelled) + count, self.most_clusters)))
        _, cluster = kmeans2(rows, wanted, iter=10, minit="++", missing="warn", seed=pool.generator())
        return self._by_turns(pool, cluster[: len(pool)], cluster[len(pool) :], count)

    @staticmethod
    def _by_turns(pool: Pool, cluster: Indices, labelled: Indices, count: int) -> Indices:
        places = int(max(cluster.max(), labelled.max(initial=0))) + 1
        covered = np.bincount(labelled, minlength=places)
        size = np.bincount(cluster, minlength=places)
        turn, usual = np.empty(len(pool), np.int64), np.empty(len(pool))
        for number in np.unique(cluster):
            rows = np.flatnonzero(cluster == number)
            usual[rows] = typicalities(pool.embeddings[rows])
            turn[rows[np.argsort(-usual[rows], kind="stable")]] = np.arange(len(rows))
        turn = turn + covered[cluster]
        return np.asarray(np.lexsort((-usual, -size[cluster], turn))[:count], np.intp)


def typicalities(embeddings: Vector) -> Vector:
    """Return 1 / the mean distance to the 20 nearest of rows (n, d), shape (n,)."""
    if len(embeddings) == 1:
        return np.ones(1)
    distances = np.sqrt(squared_distances(embeddings, embeddings))
    near = np.sort(distances, axis=1)[:, 1 : _NEIGHBOURS + 1]
    return np.asarray(1.0 / (near.mean(1) + 1e-12))
