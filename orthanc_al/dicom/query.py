"""Asking a study's source by C-FIND how many instances it has (PS3.4 C.6.2, Study Root)."""

from typing import Any, Final

from pydicom.dataset import Dataset

from orthanc_al.dicom.faults import Fault
from orthanc_al.dicom.peer import Peer
from orthanc_al.dicom.requestor import associated
from orthanc_al.dicom.statuses import describe
from orthanc_al.errors import PeerRefusedError, PeerUnreachableError

STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
_PENDING: Final = (0xFF00, 0xFF01)


def count_instances(peer: Peer, calling_ae: str, study_instance_uid: str) -> int | None:
    """Return how many instances a peer has of a study, None where it does not know the study.

    Number of Study Related Instances (0020,1208), an optional key; where the peer does not return it, what
    its series have (0020,1209), and where it does not return that either, the instances are counted.

    Raises
    ------
    PeerUnreachableError
        No association, or no answer.
    PeerRefusedError
        It does not answer such queries.
    """
    with associated(peer, calling_ae, STUDY_ROOT_FIND, "Study Root C-FIND") as association:
        found = _find(
            association, peer, "STUDY", StudyInstanceUID=study_instance_uid, NumberOfStudyRelatedInstances=""
        )
        if not found:
            return None
        told = _number(found[0], "NumberOfStudyRelatedInstances")
        return told if told is not None else _by_series(association, peer, study_instance_uid)


def _by_series(association: Any, peer: Peer, study_instance_uid: str) -> int:
    total = 0
    keys = {"StudyInstanceUID": study_instance_uid}
    for series in _find(
        association, peer, "SERIES", **keys, SeriesInstanceUID="", NumberOfSeriesRelatedInstances=""
    ):
        told = _number(series, "NumberOfSeriesRelatedInstances")
        if told is None:
            uid = str(series.SeriesInstanceUID)
            told = len(_find(association, peer, "IMAGE", **keys, SeriesInstanceUID=uid, SOPInstanceUID=""))
        total += told
    return total


def _find(association: Any, peer: Peer, level: str, **keys: str) -> list[Dataset]:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for name, value in keys.items():
        setattr(query, name, value)
    found = []
    for status, identifier in association.send_c_find(query, STUDY_ROOT_FIND):
        if "Status" not in status:
            raise PeerUnreachableError(f"{peer.name} did not answer C-FIND", Fault.NO_ANSWER)
        if status.Status in _PENDING:
            if identifier is not None:
                found.append(identifier)
        elif status.Status != 0x0000:
            raise PeerRefusedError(f"{peer.name} answers C-FIND with {describe(status.Status)}")
    return found


def _number(dataset: Dataset, keyword: str) -> int | None:
    value = str(dataset.get(keyword, "") or "")
    return int(value) if value.isdecimal() else None
