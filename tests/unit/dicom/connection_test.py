"""A time-out counts only where what was sent is not on its way any more."""

import fcntl
import struct

import pytest

from orthanc_al.dicom.connection import Connection
from orthanc_al.dicom.faults import Fault
from orthanc_al.errors import PeerUnreachableError

_RELEASE_RP = b"\x06\0\0\0\0\x04\0\0\0\0"


class _Socket:
    """Times out as often as it is told to, then gives a PDU."""

    def __init__(self, timeouts: int) -> None:
        self.timeouts = timeouts

    def recv(self, _: int) -> bytes:
        if self.timeouts:
            self.timeouts -= 1
            raise TimeoutError("timed out")
        return _RELEASE_RP

    def setsockopt(self, *_: int) -> None:
        return


def _unsent(monkeypatch: pytest.MonkeyPatch, *counts: int) -> None:
    left = iter(counts)
    monkeypatch.setattr(fcntl, "ioctl", lambda *_: struct.pack("i", next(left)))


def test_a_slow_line_is_waited_for_as_long_as_bytes_go_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _unsent(monkeypatch, 3000, 2000, 1000, 0)
    kind, body = Connection(_Socket(3), "pacs").receive()  # type: ignore[arg-type]
    assert (kind, body) == (0x06, bytes(4))


@pytest.mark.parametrize("counts", [(0, 0), (3000, 3000), (3000, 1000, 1000)])
def test_a_peer_that_takes_nothing_more_is_given_up(
    monkeypatch: pytest.MonkeyPatch, counts: tuple[int, ...]
) -> None:
    _unsent(monkeypatch, *counts)
    with pytest.raises(PeerUnreachableError) as caught:
        Connection(_Socket(99), "pacs").receive()  # type: ignore[arg-type]
    assert caught.value.fault == Fault.NO_ANSWER


def test_where_the_system_does_not_tell_one_time_out_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> bytes:
        raise OSError("no such request")

    monkeypatch.setattr(fcntl, "ioctl", refuses)
    with pytest.raises(PeerUnreachableError):
        Connection(_Socket(1), "pacs").receive()  # type: ignore[arg-type]
