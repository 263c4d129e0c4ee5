"""Elsewhere first, here where that fails: no study waits for a server that is away."""

import threading
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orthanc_al.errors import InferenceError
from orthanc_al.inference.scorer import Outputs, Scorer, prove
from orthanc_al.observe import Clock, logger, now

AWAY_SECONDS: Final = 15.0
"""How long a server that failed is left alone: each try may cost the whole time limit."""

_log = logger("inference")


class Preferred:
    """Runs a network on a server, after it has proved to give what the thresholds were computed on.

    Parameters
    ----------
    remote
        The server.
    local
        The same network here: what the server is measured against, and what stands in for it.
    probes
        Images that both are tried on.
    limit
        As `orthanc_al.inference.scorer.parity_fault`.
    fallback
        Run here while the server is away; without it, what is asked for fails, to be tried again.
    clock
        Seconds since 1970; tests pass their own.
    """

    def __init__(
        self,
        remote: Scorer,
        local: Scorer,
        probes: NDArray[np.float32],
        limit: float,
        *,
        fallback: bool = True,
        clock: Clock = now,
    ) -> None:
        self._remote = remote
        self._local = local
        self._probes = probes
        self._limit = limit
        self._fallback = fallback
        self._clock = clock
        self._proving = threading.Lock()
        self._proved = False
        self._away: str = ""
        self._away_until = 0.0

    @property
    def provider(self) -> str:
        """What it runs on now, and why it does not run on the server."""
        if not self._away:
            return self._remote.provider
        return f"{self._local.provider if self._fallback else 'nothing'}, since {self._away}"

    def run(self, batch: NDArray[np.float32]) -> Outputs:
        """Run the network on a batch.

        Raises
        ------
        ModelError
            As `Scorer.run`.
        InferenceError
            The server can't do it, and nothing stands in for it.
        """
        if self._clock() >= self._away_until:
            try:
                return self._run_there(batch)
            except InferenceError as error:
                self._note(str(error))
        if not self._fallback:
            raise InferenceError(self._away)
        return self._local.run(batch)

    def _run_there(self, batch: NDArray[np.float32]) -> Outputs:
        with self._proving:
            if not self._proved:
                prove(self._local, self._remote, self._probes, self._limit)
                self._proved = True
        outputs = self._remote.run(batch)
        if self._away:
            _log.info("inference_server_back", server=self._remote.provider)
            self._away = ""
        return outputs

    def _note(self, reason: str) -> None:
        """Leave the server alone for a while; when it is back, it has to prove itself again."""
        if not self._away:
            _log.warning("inference_server_away", reason=reason, fallback=self._fallback)
        self._away, self._away_until, self._proved = reason, self._clock() + AWAY_SECONDS, False
