"""From received bytes to a durable file and its ledger row: what stands behind status 0x0000.

The wire's side calls `Intake.store` and knows nothing of spool and ledger; this side knows nothing of
the wire.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from orthanc_al.domain import Instance, Origin
from orthanc_al.errors import StorageError
from orthanc_al.ledger import Ledger, associations, instances
from orthanc_al.observe import logger
from orthanc_al.spool import Spool

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700  # PS3.4 table B.2-1

_log = logger("receive")


@dataclass
class Session:
    """An association while it lasts; it is written into the ledger with its first instance.

    Attributes
    ----------
    origin
        What all its instances have in common.
    address
        The peer's IP address.
    stored
        Instances that came by it.
    known
        Whether the ledger has its row.
    ended
        How it ended, None while it lasts.
    """

    origin: Origin
    address: str
    stored: int = 0
    known: bool = False
    ended: associations.Ended | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def id(self) -> str:
        """The association's id."""
        return self.origin.association_id or ""


class Intake:
    """Makes received data sets durable and known.

    Parameters
    ----------
    spool, ledger
        Where they go.
    destinations
        Names of the peers that get every instance.
    """

    def __init__(self, spool: Spool, ledger: Ledger, destinations: Sequence[str]) -> None:
        self._spool = spool
        self._ledger = ledger
        self._destinations = tuple(destinations)
        self.behind = threading.Event()  # set while the spool has files that the ledger has not

    def store(
        self,
        session: Session,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        chunks: Iterable[bytes | memoryview],
    ) -> int:
        """Take one data set in and return the C-STORE status to answer with.

        0x0000 is returned only once the file is durable. Where the ledger can't be written then (locked,
        its disk full), the answer is 0x0000 all the same, since the file alone is enough to rebuild the
        row: `behind` is set, and `recover` makes up for it. 0xA700 where the spool can't take the file:
        nothing of it is kept, and the peer is to try again later.
        """
        try:
            with self._spool.open_writer(
                sop_class_uid, sop_instance_uid, transfer_syntax_uid, session.origin
            ) as writer:
                for chunk in chunks:
                    writer.write(chunk)
                instance = writer.commit()
        except StorageError as error:
            _log.error(
                "instance_not_taken",
                sop_instance_uid=sop_instance_uid,
                source=session.origin.source,
                error=str(error),
            )
            return OUT_OF_RESOURCES
        session.stored += 1
        self._record(session, instance)
        return SUCCESS

    def end(self, session: Session, ended: associations.Ended) -> None:
        """Note how an association ended; one that brought nothing is not kept."""
        with session.lock:
            if session.ended is not None:
                return
            session.ended = ended
            known = session.known
        if not session.stored:
            return
        _log.info("association_ended", source=session.origin.source, how=ended, instances=session.stored)
        if known:
            try:
                with self._ledger.write() as connection:
                    associations.closed(connection, session.id, ended)
            except SQLAlchemyError as error:
                # It counts as open until the listener starts again: studies wait for quiet time meanwhile.
                _log.error("association_end_not_written", association=session.id, error=str(error))

    def _record(self, session: Session, instance: Instance) -> None:
        try:
            with session.lock:
                with self._ledger.write() as connection:
                    if not session.known:
                        self._write_session(connection, session)
                    instances.add(connection, instance, session.origin, self._destinations)
                session.known = True
        except SQLAlchemyError as error:
            self.behind.set()
            _log.error("ledger_not_written", instance=instance.id, error=str(error))

    @staticmethod
    def _write_session(connection: Connection, session: Session) -> None:
        origin = session.origin
        associations.opened(connection, session.id, origin.calling_ae, origin.called_ae, session.address)
        if session.ended is not None:  # the connection broke while its last instance was made durable
            associations.closed(connection, session.id, session.ended)
