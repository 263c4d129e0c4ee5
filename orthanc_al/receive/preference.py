"""Which transfer syntax is accepted from a sender: its first one that all destinations take."""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from orthanc_al.dicom import Peer
from orthanc_al.ledger import Ledger, destinations
from orthanc_al.observe import logger

_KNOWN_SECONDS: Final = 30.0

_log = logger("receive")


class Preference:
    """Limits what a requestor proposes to what the destinations take, in the requestor's order.

    What is not known (a destination that was never asked, a SOP class that was not) limits nothing, and
    neither does a proposal that nobody takes: it is accepted as it is, and transcoded on its way out.

    Parameters
    ----------
    ledger
        Where is written what destinations accept.
    peers
        The destinations; ``transfer_syntaxes`` that are configured count instead.
    """

    def __init__(self, ledger: Ledger, peers: Sequence[Peer]) -> None:
        self._ledger = ledger
        self._configured = [frozenset(peer.transfer_syntaxes) for peer in peers if peer.transfer_syntaxes]
        self._names = [peer.name for peer in peers if not peer.transfer_syntaxes]
        self._lock = threading.Lock()
        self._learned: Sequence[Mapping[str, Sequence[str]]] = ()
        self._read_at = -_KNOWN_SECONDS

    def __call__(self, sop_class_uid: str, proposed: Sequence[str]) -> Sequence[str]:
        """Return those of the proposed transfer syntaxes that all destinations take; all where none is."""
        takers = [*self._configured, *self._taken(sop_class_uid)]
        return [uid for uid in proposed if all(uid in taker for taker in takers)] or proposed

    def _taken(self, sop_class_uid: str) -> list[frozenset[str]]:
        with self._lock:
            if time.monotonic() - self._read_at >= _KNOWN_SECONDS:
                self._read_at = time.monotonic()
                self._learned = self._read()
            learned = self._learned
        return [frozenset(one[sop_class_uid]) for one in learned if sop_class_uid in one]

    def _read(self) -> Sequence[Mapping[str, Sequence[str]]]:
        try:
            with self._ledger.read() as connection:
                known = destinations.known(connection)
        except SQLAlchemyError as error:
            _log.warning("syntaxes_not_read", error=str(error))
            return self._learned
        return [one.syntaxes for name, one in known.items() if name in self._names and one.syntaxes]
