"""What both data paths of the acceptor hand a received object to, and what they want to know of it."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from orthanc_al.dicom.command import StoreRequest

DataPath = Literal["fast", "plain"]


class Incoming(Protocol):
    """One data set on its way in. No method raises: what goes wrong is said by the status."""

    def write(self, parts: Sequence[memoryview]) -> None:
        """Take more of it; the views hold only until this returns."""

    def finish(self) -> int:
        """Say that this was all, and return the status to answer with (PS3.4 B.2.3)."""

    def drop(self) -> None:
        """Say that the rest won't come: the association ended in the middle."""


Inbox = Callable[[Any, StoreRequest], Incoming]
"""Called with pynetdicom's association for each C-STORE request."""
