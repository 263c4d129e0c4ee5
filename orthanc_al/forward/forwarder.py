"""The forwarder: a line for each destination, so that none waits for another."""

import threading
from collections.abc import Sequence
from typing import Final

from orthanc_al.dicom import Peer
from orthanc_al.forward.breaker import Trouble
from orthanc_al.forward.line import Line
from orthanc_al.ledger import Ledger, deliveries
from orthanc_al.ledger.deliveries import DeliveryState
from orthanc_al.observe import logger
from orthanc_al.spool import Spool

_POLL_SECONDS: Final = 0.5

_log = logger("forward")


class Forwarder:
    """Sends every waiting delivery; all it knows is in the ledger, so a restart goes on where it was.

    Parameters
    ----------
    ledger, spool
        Where deliveries and bytes are.
    peers
        The destinations.
    calling_ae
        Our AE title.
    """

    def __init__(self, *, ledger: Ledger, spool: Spool, peers: Sequence[Peer], calling_ae: str) -> None:
        self._ledger = ledger
        self._stop = threading.Event()
        self._lines = {peer.name: Line(ledger, spool, peer, calling_ae, self._stop) for peer in peers}
        self._threads = [
            threading.Thread(target=line.run, name=f"forward-{name}", daemon=True)
            for name, line in self._lines.items()
        ]
        self._bell = threading.Thread(target=self._listen, name="forward-bell", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        with self._ledger.read() as connection:
            waiting = deliveries.counts(connection)
        for (name, state), number in sorted(waiting.items()):
            if state is DeliveryState.WAITING and name not in self._lines:
                _log.error(
                    "destination_not_configured",
                    destination=name,
                    waiting=number,
                    help="add a peer of this name to [[dicom.peers]] and they will be sent",
                )
        self._bell.start()
        for thread in self._threads:
            thread.start()
        _log.info("forwarder_started", destinations=sorted(self._lines))

    def stop(self) -> None:
        """Finish the instance in hand on each line, then end."""
        self._stop.set()
        for line in self._lines.values():
            line.wake()
        self._ledger.ring()  # the one who listens for the bell ends too
        for thread in (*self._threads, self._bell):
            if thread.is_alive():
                thread.join()

    def troubles(self) -> dict[str, Trouble]:
        """Return, by destination, why it is being left alone just now; none where all is well."""
        return {name: line.trouble for name, line in self._lines.items() if line.trouble is not None}

    def trouble(self) -> dict[str, str]:
        """Return `troubles` in words."""
        return {name: trouble.reason for name, trouble in self.troubles().items()}

    def is_alive(self) -> bool:
        """Whether every line runs."""
        return all(thread.is_alive() for thread in self._threads)

    def _listen(self) -> None:
        """Wake the lines when something has come that is to be delivered."""
        with self._ledger.doorbell() as bell:
            while not self._stop.is_set():
                bell.wait(_POLL_SECONDS)
                for line in self._lines.values():
                    line.wake()
