"""What the listener does beside storage: storage commitment (PS3.4 annex J) and MPPS (annex F).

pynetdicom reads and answers the messages; here is what they mean to us. Nothing is kept but UIDs, states
and counts.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import evt
from sqlalchemy.exc import SQLAlchemyError

from orthanc_al.dicom import commitment
from orthanc_al.ledger import Ledger, commitments, evidence
from orthanc_al.observe import logger

MPPS_SOP_CLASS_UID: Final = "1.2.840.10008.3.1.2.3.3"
SOP_CLASS_UIDS: Final = (commitment.SOP_CLASS_UID, MPPS_SOP_CLASS_UID)

_SUCCESS: Final = 0x0000
_PROCESSING_FAILURE: Final = 0x0110
_DUPLICATE: Final = 0x0111
_NO_SUCH_INSTANCE: Final = 0x0112
_MISSING_ATTRIBUTE: Final = 0x0120
_INVALID_VALUE: Final = 0x0106
_NOT_AUTHORISED: Final = 0x0124
_UNLISTED: Final = "ae:"
_STATES: Final = ("IN PROGRESS", "COMPLETED", "DISCONTINUED")

_log = logger("receive")


class Refusing:
    """Takes nothing: for a peer that may call us, but not send to us."""

    def write(self, parts: Sequence[memoryview]) -> None:
        """Let it go."""

    def finish(self) -> int:
        """Answer not authorised."""
        return _NOT_AUTHORISED

    def drop(self) -> None:
        """Nothing was kept."""


class Services:
    """Answers N-ACTION, N-EVENT-REPORT, N-CREATE and N-SET.

    Parameters
    ----------
    ledger
        Where it is written; who is answered with success may rely on that.
    source_of
        Returns the peer's name for an association.
    """

    def __init__(self, ledger: Ledger, source_of: Callable[[Any], str]) -> None:
        self._ledger = ledger
        self._source_of = source_of

    def handlers(self) -> list[tuple[Any, Callable[..., Any]]]:
        """Return pynetdicom's events and our functions."""
        return [
            (evt.EVT_N_ACTION, self._guarded(self._commitment_asked)),
            (evt.EVT_N_EVENT_REPORT, self._guarded(self._commitment_told)),
            (evt.EVT_N_CREATE, self._guarded(self._step_created)),
            (evt.EVT_N_SET, self._guarded(self._step_changed)),
        ]

    def _guarded(self, handle: Callable[[Any], int]) -> Callable[[Any], tuple[int, Dataset | None]]:
        """Have what can't be read or written answered, and the association go on."""

        def answer(event: Any) -> tuple[int, Dataset | None]:
            try:
                return handle(event), None
            except (ValueError, AttributeError, TypeError) as error:
                _log.warning("request_not_understood", error=f"{type(error).__name__}: {error}")
                return _INVALID_VALUE, None
            except SQLAlchemyError as error:
                _log.error("request_not_written", error=str(error))
                return _PROCESSING_FAILURE, None

        return answer

    def _commitment_asked(self, event: Any) -> int:
        peer = self._source_of(event.assoc)
        transaction_uid, objects = commitment.read_request(event.action_information)
        if peer.startswith(_UNLISTED):
            _log.warning("commitment_for_a_stranger", source=peer)
            return _NOT_AUTHORISED  # there is no address that the answer could go to
        named = [(one.sop_class_uid, one.sop_instance_uid) for one in objects]
        with self._ledger.write() as connection:
            new = commitments.requested(connection, transaction_uid, peer, named)
        _log.info("commitment_asked", source=peer, objects=len(named))
        return _SUCCESS if new else _PROCESSING_FAILURE

    def _commitment_told(self, event: Any) -> int:
        report = commitment.read_report(event.event_information)
        with self._ledger.write() as connection:
            ours = commitments.reported(connection, report.transaction_uid, *report.outcome())
        _log.info("commitment_told", ours=ours, not_committed=len(report.failed))
        return _SUCCESS

    def _step_created(self, event: Any) -> int:
        given = event.attribute_list
        status = str(given.get("PerformedProcedureStepStatus", ""))
        if status != _STATES[0]:
            return _INVALID_VALUE if status else _MISSING_ATTRIBUTE
        scheduled = given.get("ScheduledStepAttributesSequence") or []
        studies = {str(item.get("StudyInstanceUID", "")) for item in scheduled} - {""}
        uid = str(event.request.AffectedSOPInstanceUID or generate_uid(prefix=None))
        with self._ledger.write() as connection:
            # A step of several studies is no evidence for how many each of them has.
            study = studies.pop() if len(studies) == 1 else None
            source = self._source_of(event.assoc)
            new = evidence.step_created(connection, uid, study, source, status)
        return _SUCCESS if new else _DUPLICATE

    def _step_changed(self, event: Any) -> int:
        given = event.modification_list
        uid = str(event.request.RequestedSOPInstanceUID)
        status = str(given.get("PerformedProcedureStepStatus", "")) or None
        if status is not None and status not in _STATES:
            return _INVALID_VALUE
        with self._ledger.write() as connection:
            before = evidence.step_status(connection, uid)
            if before is None:
                return _NO_SUCH_INSTANCE
            if before != _STATES[0]:
                return _PROCESSING_FAILURE  # PS3.4 F.7.2.2.2: what is over is not changed
            evidence.step_changed(connection, uid, status, _performed(given))
        return _SUCCESS


def _performed(given: Dataset) -> int | None:
    """Return how many objects the performed series refer to, None where they are not told."""
    if "PerformedSeriesSequence" not in given:
        return None
    kinds = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
    return len(
        {
            str(item.get("ReferencedSOPInstanceUID", ""))
            for series in given.PerformedSeriesSequence
            for kind in kinds
            for item in series.get(kind) or []
        }
    )
