"""What a strategy is, and how one becomes a rule for a stream of studies."""

import hashlib
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Pool:
    """The studies that may be asked about, and those that were.

    Attributes
    ----------
    logits
        Calibrated logits, float64, shape (n,).
    embeddings
        float64, shape (n, d).
    uniforms
        Each study's own noise, float64 in (0, 1), shape (n,): all that is random in a strategy.
    variances
        Posterior variances of the logits, float64, shape (n,).
    labelled
        Embeddings of the studies that have their label already, float64, shape (m, d).
    """

    logits: Vector
    embeddings: Matrix
    uniforms: Vector
    variances: Vector
    labelled: Matrix

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def probabilities(self) -> Vector:
        """Calibrated probabilities, shape (n,)."""
        return np.asarray(expit(self.logits))

    @property
    def margins(self) -> Vector:
        """U = min(p, 1 - p), shape (n,), from the logit: what rounds to p = 1 keeps its order."""
        return np.asarray(expit(-np.abs(self.logits)))

    def rows(self, chosen: Indices) -> "Pool":
        """Return a part of the pool."""
        return Pool(
            self.logits[chosen],
            self.embeddings[chosen],
            self.uniforms[chosen],
            self.variances[chosen],
            self.labelled,
        )

    def generator(self) -> np.random.Generator:
        """Return a generator that the noise determines, for strategies that draw one after another."""
        digest = hashlib.sha256(np.ascontiguousarray(self.uniforms).tobytes()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "big"))


@runtime_checkable
class Strategy(Protocol):
    """Chooses the studies of a pool whose labels are worth most."""

    @property
    def name(self) -> str:
        """As it stands in the record of each query."""

    def choose(self, pool: Pool, count: int) -> Indices:
        """Return ``count`` rows of the pool (all, where it holds fewer), each once, the best first."""


@runtime_checkable
class Scoring(Protocol):
    """Scores a study without a look at its company: what a stream of studies needs.

    A batch takes the best b of a pool by :meth:`score`; a stream takes what is above a threshold.
    """

    @property
    def name(self) -> str:
        """As it stands in the record of each query."""

    def score(self, probabilities: ArrayLike, uniforms: ArrayLike) -> Vector:
        """Return g, shape (n,): the higher, the sooner it is asked.

        Parameters
        ----------
        probabilities
            Calibrated probability of the finding, shape (n,).
        uniforms
            Each case's own noise, shape (n,), in (0, 1).
        """

    def chance(self, probabilities: ArrayLike, threshold: float) -> Vector:
        """Return the probability, over the noise, that a case's g is above ``threshold``, shape (n,)."""


def best(scores: ArrayLike, uniforms: ArrayLike, count: int) -> Indices:
    """Return the rows of the ``count`` highest scores, the highest first; noise decides ties."""
    g, u = np.asarray(scores, np.float64), np.asarray(uniforms, np.float64)
    return np.asarray(np.lexsort((-u, -g))[:count], np.intp)


def gumbel(uniforms: ArrayLike) -> Vector:
    """Return standard Gumbel noise from uniform noise in (0, 1)."""
    return np.asarray(-np.log(-np.log(np.asarray(uniforms, np.float64))))


def squared_distances(a: Matrix, b: Matrix) -> Matrix:
    """Return squared Euclidean distances between rows, shape (len(a), len(b))."""
    squared = (a**2).sum(1)[:, np.newaxis] + (b**2).sum(1) - 2.0 * a @ b.T
    return np.asarray(np.maximum(squared, 0.0))


def threshold_for(recent: ArrayLike, share: float) -> float:
    """Return the threshold that a ``share`` of cases like the recent ones exceeds.

    Parameters
    ----------
    recent
        g of the studies that came last, shape (n,).
    share
        Flags wanted a study, in [0, 1]. At 0 nothing is above the threshold, at 1 all.

    Returns
    -------
    float
        The quantile at 1 - ``share`` by the rule (n + 1)(1 - share), which is met exactly in
        expectation for n + 1 exchangeable cases wherever it falls between two of them; with too few
        recent ones to hold the share, +inf: it is better to ask a day later than beyond the budget.
    """
    ordered = np.sort(np.asarray(recent, np.float64))
    if share >= 1.0:
        return -np.inf
    rank = int(np.ceil((ordered.size + 1) * (1.0 - share)))
    return float(ordered[rank - 1]) if rank <= ordered.size else np.inf
