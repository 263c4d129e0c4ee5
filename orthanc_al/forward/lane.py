"""A lane of a destination: a thread with an association of its own, that sends and does nothing else."""

import threading
import time
from typing import Final

from orthanc_al.dicom import Peer, Verdict, describe, verdict
from orthanc_al.dicom.faults import Fault
from orthanc_al.domain import Instance
from orthanc_al.errors import PeerRefusedError, PeerUnreachableError, SpoolFileError
from orthanc_al.forward import judgement
from orthanc_al.forward.backlog import Backlog
from orthanc_al.forward.breaker import Breaker
from orthanc_al.forward.channel import Channel, Sent
from orthanc_al.ledger.deliveries import Delivery, DeliveryState, Note
from orthanc_al.observe import logger, now
from orthanc_al.spool import Spool

_LOOK_SECONDS: Final = 0.5
_IDLE_SECONDS: Final = 10.0  # how long an association without work is kept
_CRASH_SECONDS: Final = 5.0
_WORTH_ANOTHER: Final = 8  # deliveries that wait for each lane before the next one opens an association
_HOLD_OFF_SECONDS: Final = 300.0  # a peer that would not have another is not asked again for so long
_EXTRA_PATIENCE: Final = 5.0  # seconds that an answer to an association beyond the first may take

_log = logger("forward")


class Lane:
    """Sends what it takes from the backlog.

    The first lane is the destination's own: what it can't do is the destination's trouble. The others
    are there to be quick: they open an association only while much waits, and a peer that does not want
    another one (some take one at a time, and leave the next without an answer) is left with those it has.

    Parameters
    ----------
    number
        0 for the first.
    backlog, breaker
        Shared by the destination's lanes.
    spool
        Where the bytes are.
    peer
        The destination.
    calling_ae
        Our AE title.
    stop
        Ends it.
    """

    def __init__(
        self,
        number: int,
        backlog: Backlog,
        breaker: Breaker,
        spool: Spool,
        peer: Peer,
        calling_ae: str,
        stop: threading.Event,
    ) -> None:
        self._number = number
        self._backlog = backlog
        self._breaker = breaker
        self._spool = spool
        self._peer = peer
        self._stop = stop
        self.channel = Channel(
            peer, calling_ae, min(peer.timeout_seconds, _EXTRA_PATIENCE) if number else None
        )
        self._held_off_until = 0.0

    def run(self) -> None:
        """Send what waits, then wait for more, until told to stop."""
        busy_at = time.monotonic()
        while not self._stop.is_set():
            try:
                if self.turn():
                    busy_at = time.monotonic()
                    continue
            except Exception:  # noqa: BLE001 - a named border: a lane must not die of one object
                _log.error("lane_crashed", destination=self._peer.name, exc_info=True)
                self.channel.drop()
                self._stop.wait(_CRASH_SECONDS)
                continue
            if time.monotonic() - busy_at > _IDLE_SECONDS:
                self.channel.close()
            self._rest()
        self.channel.close()

    def turn(self) -> bool:
        """Send one delivery; return whether there was one that this lane may send."""
        if not self._may_work() or not (self.channel.is_open or self._may_open()):
            return False
        if not self.channel.is_open and not self._opened(self._backlog.ahead()):
            return False
        delivery = self._backlog.take()
        if delivery is None:
            return False
        note = self._deliver_or_postpone(delivery)
        if note is None:
            self._backlog.give_back(delivery)
        else:
            self._backlog.note(note)
        return note is not None

    def interrupt(self) -> None:
        """End what it waits for on the wire; what it sends is sent again another time."""
        self.channel.interrupt()

    def _rest(self) -> None:
        wait = self._breaker.wait()
        if wait:
            self._stop.wait(min(wait, _LOOK_SECONDS))
            return
        with self._backlog.changed:
            if not self._backlog.waiting or not (self._number == 0 or self.channel.is_open):
                self._backlog.changed.wait(_LOOK_SECONDS)

    def _may_work(self) -> bool:
        # After a failure one try is enough to learn whether the destination is back.
        return not self._breaker.wait() and (self._number == 0 or self._breaker.trouble is None)

    def _may_open(self) -> bool:
        if self._number == 0:
            return self._backlog.waiting > 0
        crowded = self._backlog.waiting > _WORTH_ANOTHER * self._number
        return crowded and time.monotonic() >= self._held_off_until

    def _opened(self, instances: list[Instance]) -> bool:
        """See to an association for these; tell the breaker where there is none."""
        try:
            self.channel.prepare(instances)
        except PeerUnreachableError as error:
            if self._number == 0:
                self._breaker.failed(error.fault, str(error))
            else:
                self._held_off_until = time.monotonic() + _HOLD_OFF_SECONDS
                _log.info("no_further_association", destination=self._peer.name, reason=str(error))
            return False
        return True

    def _deliver_or_postpone(self, delivery: Delivery) -> Note | None:
        try:
            return self._deliver(delivery)
        except Exception as error:  # noqa: BLE001 - a named border: others must not wait behind one object
            _log.error(
                "delivery_crashed",
                destination=self._peer.name,
                instance=delivery.instance.id,
                exc_info=True,
            )
            self.channel.drop()
            why = f"the program failed on it ({type(error).__name__}): the forwarder's log says where"
            return judgement.postponed(delivery, why, now())

    def _deliver(self, delivery: Delivery) -> Note | None:
        """Send one; return what came of it, None where it was not tried."""
        if not self.channel.covers(delivery.instance) and not self._opened(
            [*self._backlog.ahead(), delivery.instance]
        ):
            return None
        try:
            sent = self.channel.send(delivery.instance, _data_set(self._spool, delivery.instance))
        except (PeerRefusedError, SpoolFileError) as error:
            return self._noted(judgement.refused(delivery, str(error), now()), delivery)
        except PeerUnreachableError as error:
            self._breaker.failed(error.fault, str(error))
            # It may be this very object that ends the association: the others go first from now on.
            return judgement.postponed(delivery, str(error), now())
        self._tell_breaker(sent)
        return self._noted(judgement.answered(delivery, sent, now()), delivery)

    def _tell_breaker(self, sent: Sent) -> None:
        if verdict(sent.response.status) is Verdict.BUSY:
            words = describe(sent.response.status, sent.response.comment)
            self._breaker.failed(Fault.BUSY, f"{self._peer.name} answers {words}")
        else:
            self._breaker.succeeded()  # it is there, and it answers

    def _noted(self, note: Note, delivery: Delivery) -> Note:
        if note.state is DeliveryState.REFUSED:
            _log.error(
                "delivery_refused",
                destination=self._peer.name,
                instance=delivery.instance.id,
                sop_instance_uid=delivery.instance.sop_instance_uid,
                reason=note.error,
            )
        return note


def _data_set(spool: Spool, instance: Instance) -> memoryview:
    """Return the bytes that go out: none that the disk has cut short."""
    data_set = spool.data_set(instance.id)
    # One of ours may have been made anew meanwhile, with another length.
    if data_set.nbytes != instance.size and spool.describe(instance.id)[1].kind != "own":
        raise SpoolFileError(
            f"The file of instance {instance.id} holds {data_set.nbytes} bytes of data set, and "
            f"{instance.size} were acknowledged: restore it from a copy, or have the study sent again"
        )
    return data_set
