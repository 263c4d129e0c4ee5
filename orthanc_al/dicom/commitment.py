"""Storage commitment on the wire (PS3.4 annex J), by pynetdicom: what is asked, and what is answered."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom import build_role, evt

from orthanc_al.dicom.faults import Fault
from orthanc_al.dicom.peer import Peer
from orthanc_al.dicom.requestor import associated
from orthanc_al.dicom.statuses import describe
from orthanc_al.errors import PeerRefusedError, PeerUnreachableError

SOP_CLASS_UID: Final = "1.2.840.10008.1.20.1"
_WELL_KNOWN_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
_REQUEST: Final = 1
_ALL_COMMITTED, _FAILURES_EXIST = 1, 2
_WHAT: Final = "storage commitment"

PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_OBJECT: Final = 0x0112
RESOURCE_LIMITATION: Final = 0x0213

# Failure Reason (0008,1197), PS3.3 C.14.1.1.
REASONS: Final[Mapping[int, str]] = {
    PROCESSING_FAILURE: "processing failure",
    NO_SUCH_OBJECT: "no such object instance",
    RESOURCE_LIMITATION: "resource limitation",
    0x0122: "referenced SOP class not supported",
    0x0119: "class and instance do not fit",
    0x0131: "duplicate transaction UID",
}


@dataclass(frozen=True, slots=True)
class Reference:
    """An object by its SOP class and instance UID."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a transaction: who committed to what, and why not to the rest (by SOP Instance UID)."""

    transaction_uid: str
    committed: Sequence[Reference]
    failed: Mapping[Reference, int]

    def outcome(self) -> tuple[set[str], dict[str, tuple[str, bool]]]:
        """Return the SOP Instance UIDs that are committed to, and why the others are not.

        With each of those: whether the peer has not got the object at all.
        """
        failed = {
            one.sop_instance_uid: (REASONS.get(reason, f"0x{reason:04X}"), reason == NO_SUCH_OBJECT)
            for one, reason in self.failed.items()
        }
        return {one.sop_instance_uid for one in self.committed}, failed


def read_request(information: Dataset) -> tuple[str, list[Reference]]:
    """Return transaction UID and objects of an N-ACTION (PS3.4 table J.3-1).

    Raises
    ------
    ValueError
        It names no transaction, or an object by half.
    """
    return _transaction(information), _references(information, "ReferencedSOPSequence")


def read_report(information: Dataset) -> Report:
    """Return what an N-EVENT-REPORT tells (PS3.4 table J.3-2).

    Raises
    ------
    ValueError
        As `read_request`.
    """
    failed = {
        _reference(item): int(item.get("FailureReason", PROCESSING_FAILURE))
        for item in information.get("FailedSOPSequence", [])
    }
    return Report(_transaction(information), _references(information, "ReferencedSOPSequence"), failed)


def ask(
    peer: Peer,
    calling_ae: str,
    transaction_uid: str,
    objects: Sequence[Reference],
    on_report: Callable[[Report], None],
    stay: float,
) -> None:
    """Ask a peer to commit itself to objects (N-ACTION).

    Parameters
    ----------
    on_report
        Called where the answer comes on this association; it may come on one that the peer opens.
    stay
        Seconds to keep the association open for it.

    Raises
    ------
    PeerUnreachableError
        No association, or it ended.
    PeerRefusedError
        It does not do that.
    """
    reported = threading.Event()

    def handle(event: Any) -> tuple[int, None]:
        try:
            on_report(read_report(event.event_information))
        except ValueError:
            return PROCESSING_FAILURE, None
        reported.set()
        return 0x0000, None

    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_item(one) for one in objects]
    handlers = [(evt.EVT_N_EVENT_REPORT, handle)]
    with associated(peer, calling_ae, SOP_CLASS_UID, _WHAT, handlers=handlers) as association:
        status, _ = association.send_n_action(information, _REQUEST, SOP_CLASS_UID, _WELL_KNOWN_INSTANCE)
        _check(peer, status, "the request for storage commitment")
        reported.wait(stay)


def tell(peer: Peer, calling_ae: str, report: Report) -> None:
    """Tell a peer what became of its request (N-EVENT-REPORT), on an association of ours.

    Raises
    ------
    PeerUnreachableError, PeerRefusedError
        As `ask`.
    """
    information = Dataset()
    information.TransactionUID = report.transaction_uid
    information.ReferencedSOPSequence = [_item(one) for one in report.committed]
    if report.failed:
        information.FailedSOPSequence = [_item(one, reason) for one, reason in report.failed.items()]
    kind = _FAILURES_EXIST if report.failed else _ALL_COMMITTED
    # On an association that the SCP opens it has to ask for its own role (PS3.4 J.3.3).
    roles = [build_role(SOP_CLASS_UID, scp_role=True)]
    with associated(peer, calling_ae, SOP_CLASS_UID, _WHAT, roles=roles) as association:
        status, _ = association.send_n_event_report(information, kind, SOP_CLASS_UID, _WELL_KNOWN_INSTANCE)
        _check(peer, status, "the report on storage commitment")


def _check(peer: Peer, status: Dataset, what: str) -> None:
    if "Status" not in status:
        raise PeerUnreachableError(f"{peer.name} did not answer {what}", Fault.NO_ANSWER)
    if status.Status != 0x0000:
        raise PeerRefusedError(f"{peer.name} answers {what} with {describe(status.Status)}")


def _transaction(information: Dataset) -> str:
    uid = str(information.get("TransactionUID", "") or "")
    if not uid or len(uid) > 128:
        raise ValueError("it names no transaction")
    return uid


def _references(information: Dataset, keyword: str) -> list[Reference]:
    return [_reference(item) for item in information.get(keyword) or []]


def _reference(item: Dataset) -> Reference:
    found = Reference(
        str(item.get("ReferencedSOPClassUID", "")), str(item.get("ReferencedSOPInstanceUID", ""))
    )
    if not (found.sop_class_uid and found.sop_instance_uid):
        raise ValueError("it names an object by half")
    return found


def _item(reference: Reference, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if reason is not None:
        item.FailureReason = reason
    return item
