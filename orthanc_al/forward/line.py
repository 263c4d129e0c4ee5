"""One destination's line: a thread that sends what waits for it, and whose troubles are its own."""

import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from sqlalchemy import Connection

from orthanc_al.dicom import Peer, Verdict, describe, verdict
from orthanc_al.domain import Instance
from orthanc_al.errors import PeerRefusedError, PeerUnreachableError, SpoolFileError
from orthanc_al.forward.backoff import delay
from orthanc_al.forward.channel import Channel, Sent
from orthanc_al.ledger import Ledger, deliveries
from orthanc_al.ledger.deliveries import Delivery, DeliveryState
from orthanc_al.observe import logger, now
from orthanc_al.spool import Spool, SpooledFile

_BATCH: Final = 32  # deliveries that are looked up at a time
_NOTE_SECONDS: Final = 0.2  # how long answers wait to be written together
_POLL_SECONDS: Final = 0.5
_IDLE_SECONDS: Final = 10.0  # how long an association without work is kept
_CRASH_SECONDS: Final = 5.0
_DOUBTFUL_ATTEMPTS: Final = 5

_log = logger("forward")

Note = Callable[[Connection], None]


class Line:
    """Sends to one destination until told to stop.

    A destination that can't be reached is tried again with backoff, and nothing is tried on it
    meanwhile: its deliveries wait as they are. An answer is written within 0.2 s; a crash before that
    sends the same object again (at least once).

    Parameters
    ----------
    ledger, spool
        Where deliveries and bytes are.
    peer
        The destination.
    calling_ae
        Our AE title.
    stop
        Ends it.
    """

    def __init__(
        self, ledger: Ledger, spool: Spool, peer: Peer, calling_ae: str, stop: threading.Event
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._peer = peer
        self._stop = stop
        self._channel = Channel(peer, calling_ae)
        self._failures = 0
        self._trouble: str | None = None
        self._notes: list[Note] = []
        self._noted_at = time.monotonic()

    @property
    def trouble(self) -> str | None:
        """Why the destination is being left alone just now, None where all is well."""
        return self._trouble

    def run(self) -> None:
        """Send what waits, then wait for more."""
        busy_at = time.monotonic()
        while not self._stop.is_set():
            try:
                if self.run_once():
                    busy_at = time.monotonic()
                    continue
            except Exception:  # noqa: BLE001 - a named border: a line must not die of one object
                _log.error("line_crashed", destination=self._peer.name, exc_info=True)
                self._channel.drop()
                self._stop.wait(_CRASH_SECONDS)
                continue
            if time.monotonic() - busy_at > _IDLE_SECONDS:
                self._channel.close()
            self._ledger.wait_for_change(_POLL_SECONDS)
        self._channel.close()

    def run_once(self) -> bool:
        """Send one batch of what is due; return whether anything was."""
        self._write_notes()  # what the ledger could not take is not sent once more
        with self._ledger.read() as connection:
            batch = deliveries.due(connection, self._peer.name, now(), _BATCH)
        if not batch:
            return False
        failures = self._failures
        try:
            self._channel.prepare(delivery.instance for delivery in batch)
            for delivery in batch:
                if self._stop.is_set() or self._failures > failures:
                    break
                self._deliver(delivery)
        except PeerUnreachableError as error:
            self._note_failure(str(error))
        finally:
            self._write_notes()
        if self._failures > failures:
            self._stop.wait(delay(self._failures, random.random()))  # noqa: S311 - jitter
        return True

    def _deliver(self, delivery: Delivery) -> None:
        try:
            with self._spool.open(delivery.instance.id) as file:
                _check_whole(file, delivery.instance)
                sent = self._channel.send(delivery.instance, file.data_set)
        except (PeerRefusedError, SpoolFileError) as error:
            self._refuse(delivery, str(error))
        except PeerUnreachableError as error:
            # It may be this very object that ends the association: the others go first from now on.
            self._postpone(delivery, str(error))
            self._note_failure(str(error))
        else:
            self._judge(delivery, sent)
        if time.monotonic() - self._noted_at > _NOTE_SECONDS:
            self._write_notes()

    def _judge(self, delivery: Delivery, sent: Sent) -> None:
        status = sent.response.status
        words = describe(status, sent.response.comment)
        answer = verdict(status)
        if answer in (Verdict.DELIVERED, Verdict.DELIVERED_WITH_WARNING):
            self._note_success()
            delivered = answer is Verdict.DELIVERED
            self._finish(
                delivery,
                DeliveryState.SENT if delivered else DeliveryState.WARNING,
                status=status,
                transfer_syntax_uid=sent.transfer_syntax_uid,
                error=None if delivered else words,
            )
        elif answer is Verdict.REFUSED or (
            answer is Verdict.DOUBTFUL and delivery.attempts + 1 >= _DOUBTFUL_ATTEMPTS
        ):
            self._note_success()  # it is there, and it answers
            self._refuse(delivery, words, status)
        else:
            self._postpone(delivery, words, status)
            if answer is Verdict.BUSY:
                self._note_failure(f"{self._peer.name} answers {words}")

    def _refuse(self, delivery: Delivery, reason: str, status: int | None = None) -> None:
        _log.error(
            "delivery_refused",
            destination=self._peer.name,
            instance=delivery.instance.id,
            sop_instance_uid=delivery.instance.sop_instance_uid,
            reason=reason,
        )
        self._finish(delivery, DeliveryState.REFUSED, status=status, error=reason)

    def _finish(
        self,
        delivery: Delivery,
        state: DeliveryState,
        *,
        status: int | None,
        error: str | None,
        transfer_syntax_uid: str | None = None,
    ) -> None:
        self._notes.append(
            partial(
                deliveries.finish,
                delivery_id=delivery.id,
                state=state,
                status=status,
                transfer_syntax_uid=transfer_syntax_uid,
                error=error,
            )
        )

    def _postpone(self, delivery: Delivery, error: str, status: int | None = None) -> None:
        wait = delay(delivery.attempts + 1, random.random())  # noqa: S311 - jitter
        self._notes.append(
            partial(
                deliveries.postpone, delivery_id=delivery.id, next_at=now() + wait, error=error, status=status
            )
        )

    def _write_notes(self) -> None:
        if self._notes:
            with self._ledger.write() as connection:
                for note in self._notes:
                    note(connection)
            self._notes.clear()
        self._noted_at = time.monotonic()

    def _note_failure(self, error: str) -> None:
        self._failures += 1
        if self._trouble is None:
            _log.warning("destination_in_trouble", destination=self._peer.name, error=error)
        self._trouble = error

    def _note_success(self) -> None:
        if self._trouble is not None:
            _log.info("destination_back", destination=self._peer.name, failures=self._failures)
        self._failures = 0
        self._trouble = None


def _check_whole(file: SpooledFile, instance: Instance) -> None:
    """Let no file go out that the disk has cut short; one of ours may have been made anew meanwhile."""
    if file.data_set.nbytes != instance.size and file.origin.kind != "own":
        raise SpoolFileError(
            f"The file of instance {instance.id} holds {file.data_set.nbytes} bytes of data set, and "
            f"{instance.size} were acknowledged: restore it from a copy, or have the study sent again"
        )
