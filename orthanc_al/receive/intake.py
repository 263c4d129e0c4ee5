"""From received bytes to a durable file: what stands behind status 0x0000.

The wire's side calls `Intake.open` and knows nothing of the spool; this side knows nothing of the wire. The
ledger's row follows behind the answer (`orthanc_al.receive.recorder`), since the file alone is enough
to rebuild it.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from orthanc_al.dicom.command import StoreRequest
from orthanc_al.domain import Instance
from orthanc_al.errors import StorageError
from orthanc_al.observe import logger
from orthanc_al.receive.session import Session
from orthanc_al.spool import Spool, SpoolWriter

SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110  # PS3.7 C.5.18
INVALID_INSTANCE: Final = 0x0117  # PS3.7 C.5.12, invalid SOP instance
OUT_OF_RESOURCES: Final = 0xA700  # PS3.4 table B.2-1

_log = logger("receive")


class Records(Protocol):
    """What is told of each durable instance."""

    def received(self, session: Session, instance: Instance) -> None:
        """Note that it is in the spool; must neither wait nor raise."""


class Arriving:
    """One data set on its way into the spool (an `orthanc_al.dicom.inbox.Incoming`).

    Whatever goes wrong, nothing of it is kept and the rest passes: 0xA700 where the spool can't take it, so
    that the peer tries again later; 0x0110 where the program fails; 0x0117 where a UID holds a NUL, which
    PostgreSQL can't: what we could not pass on we do not take.
    """

    def __init__(self, session: Session, request: StoreRequest, spool: Spool, records: Records) -> None:
        self._session = session
        self._request = request
        self._records = records
        self._writer: SpoolWriter | None = None
        self._status = SUCCESS
        if "\0" in request.sop_class_uid + request.sop_instance_uid:
            self._status = INVALID_INSTANCE
            _log.error("instance_not_taken", source=session.origin.source, error="a UID with a NUL in it")
            return
        try:
            self._writer = spool.open_writer(
                request.sop_class_uid, request.sop_instance_uid, request.transfer_syntax_uid, session.origin
            )
        except Exception as error:  # noqa: BLE001 - a named border: one bad object must not end the association
            self._fail(error)

    def write(self, parts: Sequence[memoryview]) -> None:
        """Append to the file."""
        if self._writer is None:
            return
        try:
            self._writer.write_all(parts)
        except Exception as error:  # noqa: BLE001 - the same border
            self._fail(error)

    def finish(self) -> int:
        """Make the file durable and return the C-STORE status: 0x0000 only once it is."""
        if self._writer is None:
            return self._status
        try:
            instance = self._writer.commit()
        except Exception as error:  # noqa: BLE001 - the same border
            self._fail(error)
            return self._status
        self._session.stored += 1
        self._records.received(self._session, instance)
        return SUCCESS

    def drop(self) -> None:
        """Remove what was written."""
        if self._writer is not None:
            self._writer.abort()
            self._writer = None

    def _fail(self, error: Exception) -> None:
        self.drop()
        foreseen = isinstance(error, StorageError)
        self._status = OUT_OF_RESOURCES if foreseen else PROCESSING_FAILURE
        _log.error(
            "instance_not_taken" if foreseen else "store_crashed",
            sop_instance_uid=self._request.sop_instance_uid,
            source=self._session.origin.source,
            error=str(error),
            exc_info=not foreseen,
        )


class Intake:
    """Takes data sets into the spool.

    Parameters
    ----------
    spool
        Where they go.
    records
        What is told of each.
    """

    def __init__(self, spool: Spool, records: Records) -> None:
        self._spool = spool
        self._records = records

    def open(self, session: Session, request: StoreRequest) -> Arriving:
        """Begin to take a data set in."""
        return Arriving(session, request, self._spool, self._records)
