"""The ways in which a peer can't be had or is lost on the way, and what is done about each, as data.

Nobody knows then whether the peer has the object: every one of these is tried again, under the same SOP
Instance UID. What a peer *answers* is judged by `orthanc_al.dicom.statuses`.
"""

from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """What went wrong; the value is shown in metrics."""

    NO_CONNECTION = "no_connection"
    TLS = "tls"
    REJECTED_PERMANENT = "rejected_permanent"
    REJECTED_TRANSIENT = "rejected_transient"
    ABORTED = "aborted"
    PROVIDER_ABORTED = "provider_aborted"
    ENDED = "ended"
    CLOSED = "closed"
    NO_ANSWER = "no_answer"
    BROKEN = "broken"
    NOT_DICOM = "not_dicom"
    BUSY = "busy"


# Fault, meaning, whether people have to mend something: then the first wait is long already.
TABLE: Final[tuple[tuple[Fault, str, bool], ...]] = (
    (Fault.NO_CONNECTION, "nobody listens there, the name is not known, or no connection in time", False),
    (Fault.TLS, "no TLS: another version, or a certificate that one side does not trust", True),
    (Fault.REJECTED_PERMANENT, "A-ASSOCIATE-RJ, permanent (an AE title that it does not know)", True),
    (Fault.REJECTED_TRANSIENT, "A-ASSOCIATE-RJ, transient (too many associations)", False),
    (Fault.ABORTED, "A-ABORT by the peer's application", False),
    (Fault.PROVIDER_ABORTED, "A-P-ABORT by the peer's protocol machine", False),
    (Fault.ENDED, "A-RELEASE by the peer before its answer", False),
    (Fault.CLOSED, "the connection was closed, half-open ones among them", False),
    (Fault.NO_ANSWER, "no answer within the peer's `timeout_seconds` after the last byte left", False),
    (Fault.BROKEN, "the connection broke, or took no byte for `timeout_seconds`", False),
    (Fault.NOT_DICOM, "an answer that is no DICOM, or to another request", True),
    (Fault.BUSY, "a status that is taken as busy", False),
)


def wants_hands(fault: str) -> bool:
    """Whether it does not pass by itself: somebody has to change a configuration, here or there."""
    return any(row[2] for row in TABLE if row[0] == fault)
