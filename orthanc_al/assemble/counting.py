"""Asking the sources of arriving studies how many instances there are to be: evidence of completion."""

import threading
from collections.abc import Sequence
from typing import Final

from orthanc_al.dicom import Peer, query
from orthanc_al.errors import PeerError
from orthanc_al.ledger import Ledger, evidence
from orthanc_al.observe import keep_turning, logger, now

_LOOK_SECONDS: Final = 1.0
_SETTLED_SECONDS: Final = 2.0  # without a new instance: a source that still sends need not be asked
_AT_ONCE: Final = 20

_log = logger("assemble")


class SourceCounter:
    """Asks, once for each time that a study has grown, those of its sources with ``query``.

    What comes of it is written into the ledger, where the step ``assemble`` finds it. A source that can't
    be asked holds nothing up: quiet time decides then.

    Parameters
    ----------
    ledger
        Where studies and answers are.
    peers
        The sources that may be asked.
    calling_ae
        Our AE title.
    stop
        Ends it.
    """

    def __init__(self, ledger: Ledger, peers: Sequence[Peer], calling_ae: str, stop: threading.Event) -> None:
        self._ledger = ledger
        self._peers = {peer.name: peer for peer in peers}
        self._calling_ae = calling_ae
        self._stop = stop

    def run(self) -> None:
        """Look once a second until told to stop."""
        if self._peers:
            keep_turning(self.turn, self._stop, _LOOK_SECONDS, _log, "counting_crashed")

    def turn(self) -> None:
        """Ask about the studies that have grown and are still now."""
        with self._ledger.read() as connection:
            wanted = evidence.uncounted(connection, list(self._peers), now() - _SETTLED_SECONDS, _AT_ONCE)
        for study_instance_uid, source in wanted:
            instances, error = None, None
            try:
                instances = query.count_instances(self._peers[source], self._calling_ae, study_instance_uid)
            except PeerError as fault:
                error = str(fault)
                _log.warning("source_not_counted", source=source, error=error)
            with self._ledger.write() as connection:
                evidence.counted(connection, study_instance_uid, source, instances, error)
