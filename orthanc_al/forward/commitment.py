"""Storage commitment both ways, beside the lines: asks destinations for theirs, and answers who asks us."""

import random
import threading
from collections.abc import Sequence
from typing import Final

from pydicom.uid import generate_uid

from orthanc_al.dicom import Peer, commitment
from orthanc_al.dicom.commitment import Reference, Report
from orthanc_al.errors import PeerError
from orthanc_al.forward.backoff import delay
from orthanc_al.ledger import Ledger, commitments
from orthanc_al.ledger.commitments import Transaction
from orthanc_al.ledger.deliveries import DeliveryState
from orthanc_al.observe import keep_turning, logger, now

_LOOK_SECONDS: Final = 1.0
_GATHER_SECONDS: Final = 5.0  # what arrived that long ago is asked about together
_ANSWER_SECONDS: Final = 1800.0  # without an answer for so long: asked again
_STAY_SECONDS: Final = 2.0  # the association is kept for an answer on it
_AT_ONCE: Final = 500
_UNKNOWN_SECONDS: Final = 30.0  # an object may be on its way into the ledger
_PATIENCE_SECONDS: Final = 3600.0  # how long a peer waits for destinations to have it
_TELL_SECONDS: Final = 3 * 86400.0
_AGAIN_SECONDS: Final = 2.0

_WAIT: Final = -1
_ARRIVED: Final = {DeliveryState.SENT, DeliveryState.WARNING, DeliveryState.COMMITTED}

_log = logger("forward")


class Commitments:
    """Does both sides until told to stop; all it knows is in the ledger.

    Parameters
    ----------
    ledger
        Where deliveries and transactions are.
    peers
        All configured ones: those with ``commitment`` are asked, any may ask.
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
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def run(self) -> None:
        """Look once a second."""
        keep_turning(self.turn, self._stop, _LOOK_SECONDS, _log, "commitment_crashed")

    def turn(self) -> None:
        """Ask for what has arrived, and tell who has asked."""
        time = now()
        with self._ledger.read() as connection:
            waiting = commitments.due(connection, time)
        for transaction in waiting:
            self._answer(transaction, time)
        asked = [peer for peer in self._peers.values() if peer.commitment]
        if asked:
            with self._ledger.write() as connection:
                commitments.give_up(connection, time)
        for peer in asked:
            if time >= self._not_before.get(peer.name, 0.0):
                self._ask(peer, time)

    def _ask(self, peer: Peer, time: float) -> None:
        with self._ledger.read() as connection:
            found = commitments.uncommitted(connection, peer.name, time - _GATHER_SECONDS, _AT_ONCE)
        if not found:
            return
        uid = generate_uid(prefix=None)
        # First the rows: an answer may come before the request has returned, to the listener.
        with self._ledger.write() as connection:
            commitments.asked(connection, uid, peer.name, found, time + _ANSWER_SECONDS)
        objects = [Reference(*named) for named in dict.fromkeys(named for _, named in found)]
        try:
            commitment.ask(peer, self._calling_ae, uid, objects, self._take, _STAY_SECONDS)
        except PeerError as error:
            with self._ledger.write() as connection:
                commitments.end(connection, uid, str(error))
            self._failures[peer.name] = self._failures.get(peer.name, 0) + 1
            wait = delay(self._failures[peer.name], random.random())  # noqa: S311 - jitter
            self._not_before[peer.name] = now() + wait
            _log.warning("commitment_not_asked", destination=peer.name, error=str(error))
        else:
            self._failures.pop(peer.name, None)

    def _take(self, report: Report) -> None:
        with self._ledger.write() as connection:
            commitments.reported(connection, report.transaction_uid, *report.outcome())

    def _answer(self, transaction: Transaction, time: float) -> None:
        report = self._report(transaction, time)
        if report is None:
            self._look_later(transaction, time + _AGAIN_SECONDS, None)
            return
        peer = self._peers.get(transaction.peer)
        error: str | None = "no peer of this name is configured"
        if peer is not None:
            try:
                commitment.tell(peer, self._calling_ae, report)
                error = None
            except PeerError as fault:
                error = str(fault)
        if error is None or time - transaction.made_at > _TELL_SECONDS:
            with self._ledger.write() as connection:
                commitments.end(connection, transaction.transaction_uid, error)
            return
        _log.warning("commitment_not_told", peer=transaction.peer, error=error)
        wait = delay(transaction.attempts + 1, random.random())  # noqa: S311 - jitter
        self._look_later(transaction, now() + wait, error)

    def _look_later(self, transaction: Transaction, at: float, error: str | None) -> None:
        with self._ledger.write() as connection:
            commitments.later(connection, transaction.transaction_uid, at, error)

    def _report(self, transaction: Transaction, time: float) -> Report | None:
        """Return what can be told, None where it is too early."""
        committed, failed = [], {}
        age = time - transaction.made_at
        for sop_class, uid in transaction.objects:
            with self._ledger.read() as connection:
                states = commitments.standing(connection, uid)
            reason = _judge(states, age)
            if reason == _WAIT:
                return None
            if reason is None:
                committed.append(Reference(sop_class, uid))
            else:
                failed[Reference(sop_class, uid)] = reason
        return Report(transaction.transaction_uid, committed, failed)


def _judge(states: set[str] | None, age: float) -> int | None:
    """Return None where an object is safe, the reason where it is not, `_WAIT` where it is too early.

    Safe is what a destination has, or what we keep where no destination is to get it.
    """
    if states is None:
        return commitment.NO_SUCH_OBJECT if age > _UNKNOWN_SECONDS else _WAIT
    if not states or states & _ARRIVED:
        return None
    if DeliveryState.WAITING in states:
        return commitment.RESOURCE_LIMITATION if age > _PATIENCE_SECONDS else _WAIT
    return commitment.PROCESSING_FAILURE
