"""Learning which transfer syntaxes destinations take, for the listener to accept those of senders."""

import threading
import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from orthanc_al.dicom import Peer
from orthanc_al.dicom.probe import probe
from orthanc_al.errors import PeerError
from orthanc_al.ledger import Ledger, destinations
from orthanc_al.observe import logger, now

_LOOK_SECONDS: Final = 10.0
_DAY: Final = 86400.0
_AGAIN_SECONDS: Final = 600.0  # after a probe that failed

_log = logger("forward")


class Syntaxes:
    """Asks each destination once a day, those excepted whose syntaxes are configured.

    Parameters
    ----------
    ledger
        Where it is kept: a destination that is away is known from before.
    peers
        The destinations.
    calling_ae
        Our AE title.
    stop
        Ends it.
    """

    def __init__(self, ledger: Ledger, peers: Sequence[Peer], calling_ae: str, stop: threading.Event) -> None:
        self._ledger = ledger
        self._peers = [peer for peer in peers if not peer.transfer_syntaxes]
        self._calling_ae = calling_ae
        self._stop = stop
        self._not_before: dict[str, float] = {}

    def run(self) -> None:
        """Ask whom it is time to ask, until told to stop."""
        while True:
            for peer in self._peers:
                try:
                    self.ask(peer)
                except SQLAlchemyError as error:
                    _log.warning("syntaxes_not_written", destination=peer.name, error=str(error))
            if self._stop.wait(_LOOK_SECONDS):
                return

    def ask(self, peer: Peer) -> None:
        """Ask one, unless it was asked within a day, or could not be within ten minutes."""
        if time.monotonic() < self._not_before.get(peer.name, 0.0):
            return
        self._not_before[peer.name] = time.monotonic() + _AGAIN_SECONDS
        with self._ledger.read() as connection:
            known = destinations.known(connection).get(peer.name)
        if known is not None and known.syntaxes_at is not None and 0 <= now() - known.syntaxes_at < _DAY:
            return
        try:
            found = probe(peer, self._calling_ae)
        except PeerError as error:
            _log.info("syntaxes_not_learned", destination=peer.name, reason=str(error))
            return
        with self._ledger.write() as connection:
            destinations.learned(connection, peer.name, found)
        _log.info("syntaxes_learned", destination=peer.name, accepted=sum(map(len, found.values())))
