"""Command sets of the few messages that we send ourselves (PS3.7 9.3, encoded as 6.3.1 says)."""

import struct
from dataclasses import dataclass
from typing import Final

VERIFICATION_SOP_CLASS_UID: Final = "1.2.840.10008.1.1"

_NO_DATA_SET: Final = 0x0101
_SOME_DATA_SET: Final = 0x0001
_C_STORE_RQ: Final = 0x0001
_C_STORE_RSP: Final = 0x8001
_C_ECHO_RQ: Final = 0x0030
_PRIORITY_MEDIUM: Final = 0x0000


@dataclass(frozen=True, slots=True)
class Response:
    """A peer's answer.

    Attributes
    ----------
    message_id
        The request that it answers.
    status
        PS3.7 annex C, and PS3.4 B.2.3 for storage.
    comment
        (0000,0902), the peer's own words.
    """

    message_id: int
    status: int
    comment: str


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE request as a receiver needs it; priority and move originator change nothing here.

    Attributes
    ----------
    message_id
        What the response names.
    sop_class_uid, sop_instance_uid
        As the sender wrote them.
    transfer_syntax_uid
        That of the presentation context that it came by.
    """

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def c_store_rq(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """Return the command set of a C-STORE request (PS3.7 table 9.3-1)."""
    return _command(
        _uid(0x0002, sop_class_uid),
        _us(0x0100, _C_STORE_RQ),
        _us(0x0110, message_id),
        _us(0x0700, _PRIORITY_MEDIUM),
        _us(0x0800, _SOME_DATA_SET),
        _uid(0x1000, sop_instance_uid),
    )


def c_echo_rq(message_id: int) -> bytes:
    """Return the command set of a C-ECHO request (PS3.7 table 9.3-12)."""
    return _command(
        _uid(0x0002, VERIFICATION_SOP_CLASS_UID),
        _us(0x0100, _C_ECHO_RQ),
        _us(0x0110, message_id),
        _us(0x0800, _NO_DATA_SET),
    )


def decode_response(command_set: bytes) -> Response:
    """Read the command set of a response.

    Raises
    ------
    ValueError
        It is none: truncated, or without a status.
    """
    elements = _elements(command_set)
    try:
        (status,) = struct.unpack("<H", elements[0x0900])
        (message_id,) = struct.unpack("<H", elements[0x0120])
    except (KeyError, struct.error) as error:
        raise ValueError("the response has no status or names no request") from error
    comment = elements.get(0x0902, b"").decode("ascii", "replace").strip("\0 ")
    return Response(message_id, status, comment)


def decode_request(command_set: bytes, transfer_syntax_uid: str) -> tuple[StoreRequest | None, bool]:
    """Read a message's command set.

    Returns
    -------
    StoreRequest or None
        None where it is no C-STORE request.
    bool
        Whether a data set follows.

    Raises
    ------
    ValueError
        It is truncated or says not what it is, or it asks for C-STORE without saying of what.
    """
    elements = _elements(command_set)
    try:
        (field,) = struct.unpack("<H", elements[0x0100])
        (data_set_type,) = struct.unpack("<H", elements[0x0800])
        if field != _C_STORE_RQ:
            return None, data_set_type != _NO_DATA_SET
        (message_id,) = struct.unpack("<H", elements[0x0110])
        sop_class_uid, sop_instance_uid = _text(elements[0x0002]), _text(elements[0x1000])
    except (KeyError, struct.error) as error:
        raise ValueError("the command set lacks what every request has (PS3.7 9.3)") from error
    if not sop_class_uid or not sop_instance_uid or data_set_type == _NO_DATA_SET:
        raise ValueError("a C-STORE request without UIDs or data set")
    return StoreRequest(message_id, sop_class_uid, sop_instance_uid, transfer_syntax_uid), True


def c_store_rsp(request: StoreRequest, status: int) -> bytes:
    """Return the command set of a C-STORE response (PS3.7 table 9.3-2)."""
    return _command(
        _uid(0x0002, request.sop_class_uid),
        _us(0x0100, _C_STORE_RSP),
        _us(0x0120, request.message_id),
        _us(0x0800, _NO_DATA_SET),
        _us(0x0900, status),
        _uid(0x1000, request.sop_instance_uid),
    )


def _elements(command_set: bytes) -> dict[int, bytes]:
    """Return the values of a command set by element number (PS3.7 6.3.1: Implicit VR Little Endian)."""
    elements: dict[int, bytes] = {}
    position = 0
    while position < len(command_set):
        if position + 8 > len(command_set):
            raise ValueError("the command set is truncated")
        group, element, length = struct.unpack_from("<HHL", command_set, position)
        position += 8
        if group != 0x0000 or position + length > len(command_set):
            raise ValueError("the command set is truncated, or has elements of a data set")
        elements[element] = command_set[position : position + length]
        position += length
    return elements


def _text(value: bytes) -> str:
    # A peer may send anything as a UID: what came must come back, and a database must be able to hold it.
    return value.rstrip(b"\0 ").decode("latin-1")


def _command(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return struct.pack("<HHLL", 0x0000, 0x0000, 4, len(body)) + body


def _us(element: int, value: int) -> bytes:
    return struct.pack("<HHLH", 0x0000, element, 2, value)


def _uid(element: int, value: str) -> bytes:
    encoded = value.encode("latin-1", "replace")
    encoded += b"\0" * (len(encoded) % 2)
    return struct.pack("<HHL", 0x0000, element, len(encoded)) + encoded
