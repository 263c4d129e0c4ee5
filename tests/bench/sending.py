"""The sender of all measures: data sets that lie in memory, sent as they are, over some associations."""

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian

from orthanc_al.dicom import Association, Peer, Proposal, Verdict, describe, verdict
from orthanc_al.dicom.part10 import head

CALLING_AE = "BENCH"


@dataclass(frozen=True)
class Payload:
    """A data set, encoded with explicit VR in little endian order."""

    sop_class_uid: str
    sop_instance_uid: str
    data_set: bytes | memoryview
    transfer_syntax_uid: str = ExplicitVRLittleEndian

    @classmethod
    def of(cls, dataset: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> "Payload":
        """Encode a data set, whose pixels are in the transfer syntax already."""
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_dataset(buffer, dataset)
        named = str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)
        return cls(*named, buffer.getvalue(), transfer_syntax_uid)

    def save(self, folder: Path) -> Path:
        """Write it as a Part 10 file and return the path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.sop_instance_uid}.dcm"
        path.write_bytes(
            head(self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid) + self.data_set
        )
        return path


@dataclass(frozen=True)
class Sent:
    """Moments of `time.perf_counter`: before the first connection, and when the last answer was in."""

    began_at: float
    acknowledged_at: float

    @property
    def seconds(self) -> float:
        """Time from the one to the other."""
        return self.acknowledged_at - self.began_at


def megabytes(payloads: Iterable[Payload]) -> float:
    """Return the size of the data sets, in 10**6 bytes."""
    return sum(len(payload.data_set) for payload in payloads) / 1e6


def send(payloads: Sequence[Payload], receiver: Peer, lanes: int = 1) -> Sent:
    """Send everything over ``lanes`` associations at once, each released at its end.

    Raises
    ------
    RuntimeError
        The receiver did not take one: a figure would be wrong.
    """
    faults: list[str] = []
    ends: list[float] = []

    def lane(number: int) -> None:
        try:
            ends.append(_send_lane(payloads[number::lanes], receiver))
        except Exception as error:
            faults.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=lane, args=(number,)) for number in range(lanes)]
    began_at = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise RuntimeError(f"{receiver.name}: {faults[0]}")
    return Sent(began_at, max(ends))


def _send_lane(payloads: Sequence[Payload], receiver: Peer) -> float:
    """Return when the last answer was in."""
    kinds = dict.fromkeys((payload.sop_class_uid, payload.transfer_syntax_uid) for payload in payloads)
    with Association.open(
        receiver.host,
        receiver.port,
        called_ae=receiver.ae_title,
        calling_ae=CALLING_AE,
        proposals=[Proposal(sop_class, (syntax,)) for sop_class, syntax in kinds],
    ) as association:
        for payload in payloads:
            context = association.context(payload.sop_class_uid, payload.transfer_syntax_uid)
            if context is None:
                raise RuntimeError(f"{payload.sop_class_uid} is not accepted")
            response = association.store(context, payload.sop_instance_uid, payload.data_set)
            if verdict(response.status) is not Verdict.DELIVERED:
                raise RuntimeError(describe(response.status, response.comment))
        return time.perf_counter()
