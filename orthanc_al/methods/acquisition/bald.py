"""BALD: where the posterior's heads disagree about a study, not where all of them are unsure."""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from scipy.special import entr, expit

from orthanc_al.methods.acquisition.protocol import Indices, Pool, Vector, best

_NODES: Final = 32


@dataclass(frozen=True, slots=True)
class Bald:
    """Mutual information of label and head: H(E p) - E H(p) (Houlsby et al., arXiv 1112.5745).

    The logit's posterior is normal (Laplace), so that both are integrals over one number, taken by
    Gauss and Hermite's rule.
    """

    name: ClassVar[str] = "bald"

    def choose(self, pool: Pool, count: int) -> Indices:
        """Return the rows of the greatest information."""
        return best(information(pool.logits, pool.variances), pool.uniforms, count)


def information(logits: Vector, variances: Vector) -> Vector:
    """Return the mutual information in nats of labels whose logits are normal, shape (n,)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    weights = weights / weights.sum()
    p = expit(logits[:, np.newaxis] + np.sqrt(variances)[:, np.newaxis] * nodes)
    mean = p @ weights
    of_mean = entr(mean) + entr(1.0 - mean)
    return np.asarray(np.maximum(of_mean - (entr(p) + entr(1.0 - p)) @ weights, 0.0))
