"""Our service as it scores, without a PACS: how long a score takes after the last acknowledgement."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, select

from orthanc_al.dicom import Peer
from orthanc_al.ledger import Ledger
from orthanc_al.ledger.schema import predictions
from tests.bench.sending import CALLING_AE, Payload, send
from tests.bench.watching import quiesce
from tests.support.site import Site, peer

_POLL_SECONDS: Final = 0.002
_LONGEST_SECONDS: Final = 300


class ScoringGateway:
    """The listener of a service that runs, and its ledger."""

    def __init__(self, listener: Peer, ledger: Ledger) -> None:
        self._listener = listener
        self._ledger = ledger

    def wait_for_score(self, payloads: Sequence[Payload]) -> float:
        """Send a study that tells its number of images, and wait for its score.

        Returns
        -------
        float
            Seconds from the last acknowledgement until the score is in the ledger.

        Raises
        ------
        RuntimeError
            It was not scored within five minutes.
        """
        quiesce(self._ledger)
        before = self._scored()
        sent = send(payloads, self._listener)
        while self._scored() == before:
            if time.perf_counter() - sent.acknowledged_at > _LONGEST_SECONDS:
                raise RuntimeError(f"the study was not scored within {_LONGEST_SECONDS} s")
            time.sleep(_POLL_SECONDS)
        return time.perf_counter() - sent.acknowledged_at

    def _scored(self) -> int:
        with self._ledger.read() as connection:
            studies = select(func.count(predictions.c.study_instance_uid.distinct()))
            return int(connection.execute(studies).scalar_one())


@contextmanager
def scoring_gateway(folder: Path, models: Sequence[Mapping[str, Any]]) -> Iterator[ScoringGateway]:
    """Start a service with the tables ``models`` of the configuration, and end it."""
    site = Site(
        folder,
        [peer("bench", CALLING_AE, 1, "source")],
        {
            "models": list(models),  # type: ignore[dict-item]  # the one section that is a list
            "assemble": {"quiet_seconds": {"default": 30, "CR": 30, "DX": 30}},
            "review": {"budget_per_day": 0, "audit_fraction": 0},
        },
    )
    site.start()
    try:
        with site.ledger() as ledger:
            yield ScoringGateway(Peer("us", "ORTHANC_AL", "127.0.0.1", site.port), ledger)
    finally:
        site.stop()
