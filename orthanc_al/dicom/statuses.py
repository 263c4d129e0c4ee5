"""What a peer's answer to C-STORE means for a delivery (PS3.4 B.2.3, PS3.7 annex C), as data."""

from enum import Enum, auto
from typing import Final


class Verdict(Enum):
    """What to do after an answer."""

    DELIVERED = auto()
    DELIVERED_WITH_WARNING = auto()
    BUSY = auto()  # try again for as long as it takes
    DOUBTFUL = auto()  # try again a few times: peers use these for passing faults of their own too
    REFUSED = auto()  # final


# First, last, verdict, meaning; the first row that fits counts.
TABLE: Final[tuple[tuple[int, int, Verdict, str], ...]] = (
    (0x0000, 0x0000, Verdict.DELIVERED, "success"),
    (0x0001, 0x0001, Verdict.DELIVERED_WITH_WARNING, "an optional attribute is not supported"),
    (0x0107, 0x0107, Verdict.DELIVERED_WITH_WARNING, "attribute list error"),
    (0x0116, 0x0116, Verdict.DELIVERED_WITH_WARNING, "attribute value out of range"),
    # It has an object of this UID: a delivery that was made before a crash and is made again.
    (0x0111, 0x0111, Verdict.DELIVERED_WITH_WARNING, "duplicate SOP instance"),
    (0xB000, 0xBFFF, Verdict.DELIVERED_WITH_WARNING, "stored with changes or with a remark"),
    (0x0110, 0x0110, Verdict.DOUBTFUL, "processing failure"),
    (0x0210, 0x0210, Verdict.BUSY, "duplicate invocation"),
    (0x0213, 0x0213, Verdict.BUSY, "resource limitation"),
    (0xFE00, 0xFE00, Verdict.BUSY, "cancelled at the peer"),
    (0xA700, 0xA7FF, Verdict.BUSY, "out of resources"),
    (0x0117, 0x0117, Verdict.REFUSED, "invalid SOP Instance UID"),
    (0x0118, 0x0119, Verdict.REFUSED, "SOP class and instance do not fit"),
    (0x0122, 0x0122, Verdict.REFUSED, "SOP class not supported"),
    (0x0124, 0x0124, Verdict.REFUSED, "not authorised"),
    (0x0211, 0x0212, Verdict.REFUSED, "operation not recognised"),
    (0xA800, 0xA8FF, Verdict.REFUSED, "SOP class not supported"),
    (0xA900, 0xA9FF, Verdict.REFUSED, "data set does not match its SOP class"),
    (0xC000, 0xCFFF, Verdict.DOUBTFUL, "cannot understand"),
    (0x0000, 0xFFFF, Verdict.DOUBTFUL, "status of no known meaning"),
)


def verdict(status: int) -> Verdict:
    """Return what a status asks for."""
    return _row(status)[2]


def describe(status: int, comment: str = "") -> str:
    """Return a status in words, with the peer's own comment where it made one."""
    text = f"0x{status:04X} {_row(status)[3]}"
    return f"{text}: {comment}" if comment else text


def _row(status: int) -> tuple[int, int, Verdict, str]:
    return next(row for row in TABLE if row[0] <= status & 0xFFFF <= row[1])
