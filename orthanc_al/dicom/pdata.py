"""P-DATA-TF PDUs (PS3.8 9.3.5 and annex E): a message cut into fragments, without copying it."""

import struct
from collections.abc import Iterator
from typing import Final

P_DATA_TF: Final = 0x04
_COMMAND: Final = 0x01
_LAST: Final = 0x02
_PDV_HEADER: Final = 6  # length (4 bytes), presentation context id, message control header
_SMALLEST_PDU: Final = 4096  # a peer that asks for less gets this all the same
_LARGEST_PDU: Final = 1 << 20  # where the peer says that any length will do


def fragments(
    context_id: int, message: bytes | memoryview, maximum_length: int, *, command: bool
) -> Iterator[tuple[bytes, memoryview]]:
    """Cut a command set or a data set into PDUs of one fragment each.

    Parameters
    ----------
    context_id
        The presentation context, odd, 1 to 255.
    message
        The encoded command set or data set; an empty one is one empty fragment.
    maximum_length
        What the peer wants at most in a PDU (PS3.8 D.1.1), in bytes; 0 where it does not care.
    command
        Whether it is the command set.

    Yields
    ------
    bytes
        PDU and PDV header.
    memoryview
        The fragment, a view of ``message``.
    """
    view = memoryview(message)
    limit = max(_SMALLEST_PDU, maximum_length) if maximum_length else _LARGEST_PDU
    step = min(limit, _LARGEST_PDU) - _PDV_HEADER
    kind = _COMMAND if command else 0
    whole = _header(step, context_id, kind)
    tail = max(view.nbytes - 1, 0) // step * step  # where the last fragment begins
    for start in range(0, tail, step):
        yield whole, view[start : start + step]
    yield _header(view.nbytes - tail, context_id, kind | _LAST), view[tail:]


def _header(length: int, context_id: int, control: int) -> bytes:
    return struct.pack(">BBLLBB", P_DATA_TF, 0, length + _PDV_HEADER, length + 2, context_id, control)


def values(body: bytes) -> Iterator[tuple[int, bool, bool, bytes]]:
    """Yield the presentation data values of a P-DATA-TF PDU.

    Parameters
    ----------
    body
        The PDU without its header of 6 bytes.

    Yields
    ------
    tuple
        Presentation context id, whether it is of a command set, whether it is the last, the fragment.

    Raises
    ------
    ValueError
        The lengths do not fit.
    """
    position = 0
    while position < len(body):
        if position + _PDV_HEADER > len(body):
            raise ValueError("a presentation data value is truncated")
        length, context_id, control = struct.unpack_from(">LBB", body, position)
        end = position + 4 + length
        if length < 2 or end > len(body):
            raise ValueError("a presentation data value is longer than its PDU")
        yield context_id, bool(control & _COMMAND), bool(control & _LAST), body[position + 6 : end]
        position = end
