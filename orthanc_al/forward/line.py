"""One destination's line: looks up what waits for it, has its lanes send it, and writes what came of it."""

import threading
import time
from collections.abc import Callable, Collection
from typing import Final

from orthanc_al.dicom import Peer
from orthanc_al.forward.backlog import Backlog
from orthanc_al.forward.breaker import Breaker, Trouble
from orthanc_al.forward.lane import Lane
from orthanc_al.ledger import Ledger, deliveries
from orthanc_al.observe import logger, now
from orthanc_al.spool import Spool

_BATCH: Final = 256  # deliveries that are looked up at a time
_LOW: Final = 64  # fewer than these before the lanes: look up more
_MOST_UNWRITTEN: Final = 2048  # answers that the ledger lacks: each goes out again after a crash
_NOTE_SECONDS: Final = 0.1  # how long answers wait to be written together while more is being sent
_POLL_SECONDS: Final = 0.5
_PACE_SECONDS: Final = 0.002  # between two looks while instances arrive one by one
_CRASH_SECONDS: Final = 5.0
_GRACE_SECONDS: Final = 5.0

_log = logger("forward")


class Line:
    """Sends to one destination until told to stop; its troubles are its own.

    The ledger is read and written here in batches, while the lanes send; written by a thread of its own,
    since who writes may have to wait for others who do. An answer is written within 0.1 s; a crash before
    that sends the same object again (at least once). Where the ledger takes no answers, the lanes send on for
    a while only.

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
        self._peer = peer
        self._stop = stop
        self._backlog = Backlog()
        self._breaker = Breaker(peer.name)
        self.lanes = [
            Lane(number, self._backlog, self._breaker, spool, peer, calling_ae, stop)
            for number in range(peer.associations)
        ]
        self._woken = True
        self._maybe_more = False
        self._looked_at = 0.0
        self._written_at = 0.0

    @property
    def trouble(self) -> Trouble | None:
        """Why the destination is being left alone just now, None where all is well."""
        return self._breaker.trouble

    def wake(self) -> None:
        """Look at the ledger now: something may have come."""
        with self._backlog.changed:
            self._woken = True
            self._backlog.changed.notify_all()

    def run(self) -> None:
        """Work until told to stop, then let the lanes finish what they have in hand."""
        lanes = [
            threading.Thread(target=lane.run, name=f"forward-{self._peer.name}-{number}", daemon=True)
            for number, lane in enumerate(self.lanes)
        ]
        notes = threading.Thread(
            target=self._keep_turning,
            args=(self.note_once, lanes),  # with a lane that ends by a slip the line ends, as a whole
            name=f"notes-{self._peer.name}",
            daemon=True,
        )
        threads = [*lanes, notes]
        for thread in threads:
            thread.start()
        self._keep_turning(self.look_once, threads)
        notes.join()
        self._end(lanes)

    def _keep_turning(self, turn: Callable[[], None], threads: Collection[threading.Thread]) -> None:
        while not self._stop.is_set() and all(thread.is_alive() for thread in threads):
            try:
                turn()
            except Exception:  # noqa: BLE001 - a named border: what the ledger can't take now, it takes later
                _log.error("line_crashed", destination=self._peer.name, exc_info=True)
                self._stop.wait(_CRASH_SECONDS)

    def look_once(self) -> None:
        """Look up what is due, then wait for a reason to do it again."""
        if self._breaker.wait():
            self._backlog.forget_waiting()  # it may be cancelled meanwhile
        self._look()
        with self._backlog.changed:
            if not (self._stop.is_set() or self._is_due()):
                self._backlog.changed.wait(_POLL_SECONDS)

    def note_once(self) -> None:
        """Write what there is to write, then wait for more."""
        self._write_notes()
        with self._backlog.changed:
            if not (self._stop.is_set() or self._may_write()):
                self._backlog.changed.wait(_NOTE_SECONDS if self._backlog.notes else _POLL_SECONDS)

    def _end(self, threads: list[threading.Thread]) -> None:
        with self._backlog.changed:
            self._backlog.changed.notify_all()
        until = time.monotonic() + _GRACE_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        for lane, thread in zip(self.lanes, threads, strict=True):
            if thread.is_alive():  # a peer that takes its time: this object goes out again after the restart
                lane.interrupt()
                thread.join(_GRACE_SECONDS)
        self._write_notes(at_once=True)

    def _is_due(self) -> bool:
        return (self._woken or self._maybe_more) and self._wants_more()

    def _wants_more(self) -> bool:
        few = self._backlog.waiting < _LOW and self._backlog.notes < _MOST_UNWRITTEN
        return few and not self._breaker.wait()

    def _may_write(self) -> bool:
        if not self._backlog.notes:
            return False
        return self._backlog.is_at_rest or time.monotonic() - self._written_at >= _NOTE_SECONDS

    def _look(self) -> None:
        """Look up deliveries, where the lanes have few before them and there may be more."""
        elapsed = time.monotonic() - self._looked_at
        if not self._wants_more() or not (self._woken or self._maybe_more or elapsed >= _POLL_SECONDS):
            return
        if elapsed < _PACE_SECONDS:
            self._stop.wait(_PACE_SECONDS - elapsed)
        self._woken = False
        limit = _BATCH + self._backlog.in_hand
        held = self._backlog.held()
        with self._ledger.read() as connection:
            found = deliveries.due(connection, self._peer.name, now(), limit)
        self._looked_at = time.monotonic()
        self._maybe_more = len(found) == limit
        ours = [one for one in found if one.own and one.id not in held]
        self._backlog.put([one for one in found if not one.own], held)
        if ours:
            # What was seen may go with the power, and be made anew with other bytes: the disk has it first.
            self._ledger.sync()
            self._backlog.put(ours, held)

    def _write_notes(self, *, at_once: bool = False) -> None:
        if not (self._may_write() or (at_once and self._backlog.notes)):
            return
        notes = self._backlog.unwritten()
        with self._ledger.write() as connection:
            deliveries.write(connection, notes)
        self._written_at = time.monotonic()
        self._backlog.written(notes)
