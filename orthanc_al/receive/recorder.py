"""Ledger rows in batches, behind the spool: one thread writes what the associations' threads tell it.

In the order in which things happened, so that no association's end is in the ledger before its instances
(`orthanc_al.assemble` takes it as evidence). What is lost with the process is rebuilt from the spool.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from orthanc_al.domain import Instance
from orthanc_al.ledger import Ledger, associations, instances
from orthanc_al.ledger.associations import Ended
from orthanc_al.ledger.trouble import cause_of
from orthanc_al.observe import logger
from orthanc_al.receive.recovery import OF_THE_ROW, recover
from orthanc_al.receive.session import Session
from orthanc_al.spool import Spool

GATHER_SECONDS: Final = 0.008  # between two batches at least: what comes meanwhile is one transaction
_REST: Final = 8.0  # times the processor time of the last batch: it has the interpreter that receives
_LONGEST_GATHER_SECONDS: Final = 0.2
RETRY_SECONDS: Final = 2.0
_LARGEST_BATCH: Final = 500
_MOST_WAITING: Final = 20_000  # some 20 MB; beyond that the rows are rebuilt from the spool

_log = logger("receive")


@dataclass(frozen=True, slots=True)
class _Received:
    session: Session
    instance: Instance


@dataclass(frozen=True, slots=True)
class _Over:
    session: Session
    ended: Ended


_Told = _Received | _Over


class Recorder:
    """Brings the ledger up to what the spool has.

    Parameters
    ----------
    ledger, spool
        Of the listener.
    destinations
        Names of the peers that get every instance.
    """

    def __init__(self, ledger: Ledger, spool: Spool, destinations: Sequence[str]) -> None:
        self._ledger = ledger
        self._spool = spool
        self._destinations = tuple(destinations)
        self._waiting: deque[_Told] = deque()
        self._come = threading.Event()
        self._hurry = threading.Event()  # somebody may wait for what is told: an association is over
        self._stopping = threading.Event()
        self._spool_is_ahead = False  # rows were let go: the spool has them
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, once; what can't be written now, the next start rebuilds."""
        self._stopping.set()
        self._hurry.set()
        self._come.set()
        if self._thread.is_alive():
            self._thread.join()

    def received(self, session: Session, instance: Instance) -> None:
        """Note an instance that is in the spool."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append(_Received(session, instance))
        else:
            self._spool_is_ahead = True
        self._come.set()

    def ended(self, session: Session, ended: Ended) -> None:
        """Note how an association ended; one that brought nothing is not kept, and the first end counts."""
        if session.ended is not None:
            return
        session.ended = ended
        if not session.stored:
            session.over = ended  # for a last instance that is still being made durable
            return
        _log.info("association_ended", source=session.origin.source, how=ended, instances=session.stored)
        self._waiting.append(_Over(session, ended))
        self._hurry.set()
        self._come.set()

    def _run(self) -> None:
        while True:
            self._come.wait()
            self._come.clear()
            self._hurry.clear()
            began = time.thread_time()  # to wait for the ledger's lock keeps nobody from receiving
            done = self._catch_up()
            rest = min(_LONGEST_GATHER_SECONDS, _REST * (time.thread_time() - began)) - GATHER_SECONDS
            if not done:
                self._come.set()
            stopping = self._stopping.wait(GATHER_SECONDS if done else RETRY_SECONDS)
            if stopping and not (done and self._waiting):
                return
            if done and rest > 0:
                self._hurry.wait(rest)

    def _catch_up(self) -> bool:
        """Write all that waits; return False where the ledger can't be reached now."""
        try:
            while self._waiting:
                self._write_batch([self._waiting.popleft() for _ in range(self._size_of_batch())])
            if self._spool_is_ahead:
                recover(self._spool, self._ledger, self._destinations)
                self._spool_is_ahead = False
        except Exception as error:  # noqa: BLE001 - a named border: rows are caught up with all the same
            _log.error("ledger_not_written", error=str(cause_of(error)), waiting=len(self._waiting))
            return False
        return True

    def _size_of_batch(self) -> int:
        return min(len(self._waiting), _LARGEST_BATCH)

    def _write_batch(self, batch: Sequence[_Told]) -> None:
        try:
            # The spool has it, and it is looked through when this process starts.
            with self._ledger.write(forced=self._ledger.falls_alone) as connection:
                stand = self._write(connection, batch)
        except OF_THE_ROW as error:
            if len(batch) > 1:  # one that the ledger can't hold must not keep the others out
                self._waiting.extendleft(reversed(batch))  # what the ledger can't take now goes on to wait
                for _ in batch:
                    self._write_batch([self._waiting.popleft()])
            else:
                _log.error("not_for_the_ledger", what=type(batch[0]).__name__, error=str(cause_of(error)))
            return
        except Exception:
            self._waiting.extendleft(reversed(batch))
            raise
        for session, over in stand.items():  # only now is it true
            session.known = session.known or session.stored > 0
            session.over = over or session.over

    def _write(self, connection: Connection, batch: Sequence[_Told]) -> dict[Session, Ended | None]:
        """Write a batch; return how its associations stand after it."""
        arrived = [one for one in batch if isinstance(one, _Received)]
        over = {one.session: one.ended for one in batch if isinstance(one, _Over)}
        bringing = dict.fromkeys(one.session for one in arrived)
        for session in bringing:
            if not session.known:
                origin = session.origin
                associations.opened(
                    connection,
                    session.id,
                    origin.calling_ae,
                    origin.called_ae,
                    session.address,
                    session.opened_at,
                )
        instances.add_all(
            connection, [(one.instance, one.session.origin) for one in arrived], self._destinations
        )
        # Its end may have been told first: the connection broke while its last instance was made durable.
        stand = {session: over.get(session, session.over) for session in {**bringing, **over}}
        for session, ended in stand.items():
            if ended is not None and (session.known or session in bringing):
                associations.closed(connection, session.id, ended)
        return stand
