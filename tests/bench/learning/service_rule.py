"""The service's own rule in the benchmark's loop: the code that asks the radiologist, filters and all."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from orthanc_al.methods.acquisition import Pool
from orthanc_al.select import batch
from orthanc_al.select.rules import GROSS


@dataclass(frozen=True)
class ServiceRule:
    """`orthanc_al.select.batch` with what it is told each night; without it, a strategy like others.

    Attributes
    ----------
    positives
        Confirmed so far.
    weak
        Whether there is no head to trust.
    ood
        Distance over the domain's limit of each row of the pool.
    """

    positives: int = 0
    weak: bool = False
    ood: np.ndarray | None = None
    name: ClassVar[str] = "orthanc_al"

    def choose(self, pool: Pool, count: int) -> np.ndarray:
        """Return the rows that the service would ask about."""
        rows = np.arange(len(pool)) if self.ood is None else np.flatnonzero(self.ood <= GROSS)
        if len(rows) < count:
            rows = np.arange(len(pool))
        chosen = batch.choose(pool.rows(rows), count, positives=self.positives, weak=self.weak)
        return rows[[one.row for one in chosen]]
