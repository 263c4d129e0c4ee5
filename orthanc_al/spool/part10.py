"""File Meta Information of spool files (PS3.10 7.1), written and read without looking at the data set.

Beside the standard's elements each file carries, as Private Information (0002,0102) in JSON, what the
ledger's row is made of, so that the row can be rebuilt from the file alone.
"""

import json
import struct
import zlib
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, BinaryIO, Final

from orthanc_al.domain import Instance, Origin
from orthanc_al.domain.identity import IMPLEMENTATION_CLASS_UID
from orthanc_al.errors import SpoolFileError

IMPLEMENTATION_VERSION_NAME: Final = "ORTHANC_AL"
# Drawn once as a random UUID (PS3.5 B.2).
PRIVATE_INFORMATION_CREATOR_UID: Final = "2.25.68500236981454717754788151440519826911"

_MAGIC: Final = b"\0" * 128 + b"DICM"
_LONG_LENGTH: Final = (b"OB", b"UN")  # VRs with a length of 4 bytes (PS3.5 7.1.2)
_GROUP_LENGTH: Final = 0x0000
_SOP_CLASS: Final = 0x0002
_SOP_INSTANCE: Final = 0x0003
_TRANSFER_SYNTAX: Final = 0x0010
_PRIVATE_CREATOR: Final = 0x0100
_PRIVATE: Final = 0x0102
_BLANK_SEAL: Final = " " * 25  # size and CRC-32 in hexadecimal digits, once they are known
_CHUNK: Final = 1 << 20
_LARGEST_HEAD: Final = 1 << 20  # far more than AE titles, UIDs and what is private take


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What a spool file says of itself.

    Attributes
    ----------
    instance
        ``size`` is left 0: the length of the file tells it.
    data_set_offset
        Bytes before the data set.
    """

    instance: Instance
    origin: Origin
    data_set_offset: int


def encode(instance: Instance, origin: Origin, *, sealed: bool = False) -> bytes:
    """Return preamble, prefix and File Meta Information for ``instance``; room for a seal on demand."""
    private = {
        "called_ae": origin.called_ae,
        "source": origin.source,
        "association_id": origin.association_id,
        "kind": origin.kind,
        "received_at": instance.received_at,
        **({"seal": _BLANK_SEAL} if sealed else {}),  # the last one: its place is found from the end
    }
    elements = b"".join(
        (
            _element(0x0001, b"OB", b"\0\1"),
            _element(_SOP_CLASS, b"UI", _text(instance.sop_class_uid)),
            _element(_SOP_INSTANCE, b"UI", _text(instance.sop_instance_uid)),
            _element(_TRANSFER_SYNTAX, b"UI", _text(instance.transfer_syntax_uid)),
            _element(0x0012, b"UI", _text(IMPLEMENTATION_CLASS_UID)),
            _element(0x0013, b"SH", _text(IMPLEMENTATION_VERSION_NAME)),
            # The AE that wrote this file, the one that sent it, and the one that received it.
            _element(0x0016, b"AE", _text(origin.receiving_ae)),
            _element(0x0017, b"AE", _text(origin.calling_ae)),
            _element(0x0018, b"AE", _text(origin.receiving_ae)),
            _element(_PRIVATE_CREATOR, b"UI", _text(PRIVATE_INFORMATION_CREATOR_UID)),
            _element(_PRIVATE, b"OB", json.dumps(private).encode()),
        )
    )
    return _MAGIC + _element(_GROUP_LENGTH, b"UL", struct.pack("<L", len(elements))) + elements


def decode(head: bytes, instance_id: str) -> FileMeta:
    """Read what `encode` wrote.

    Parameters
    ----------
    head
        The file's first bytes, enough to hold the File Meta Information.
    instance_id
        The file's name.

    Raises
    ------
    SpoolFileError
        The bytes are not the head of a file that the spool wrote.
    """
    try:
        elements, offset = _elements(head)
        private = json.loads(elements[_PRIVATE].rstrip(b"\0 "))
        return FileMeta(_instance(instance_id, elements, private), _origin(elements, private), offset)
    except (KeyError, ValueError, TypeError, struct.error) as error:
        raise SpoolFileError(
            f"The file of instance {instance_id} in the spool does not begin as the spool writes it "
            f"({error!r}): the disk may be damaged, or another program has written there."
        ) from error


def meta_length(head: bytes) -> int:
    """Return how many bytes come before the data set, from the file's first 144 bytes.

    Raises
    ------
    SpoolFileError
        The bytes are not the head of a Part 10 file with a group length.
    """
    if len(head) < 144 or head[:132] != _MAGIC or head[132:140] != b"\x02\0\0\0UL\x04\0":
        raise SpoolFileError("no preamble with a group length")
    return 144 + int(struct.unpack_from("<L", head, 140)[0])


def seal(head: bytes, size: int, crc: int) -> tuple[int, bytes]:
    """Return what proves that a file is whole, and where it goes.

    Parameters
    ----------
    head
        What `encode` returned with room for a seal.
    size
        Bytes of the data set.
    crc
        CRC-32 (`zlib.crc32`) of ``head`` and the data set after it.

    Returns
    -------
    tuple of int, bytes
        Offset in the file, and the bytes that are to stand there.
    """
    return head.rindex(_BLANK_SEAL.encode()), _seal(size, crc)


class Seal(Enum):
    """What a file's seal says of it."""

    NONE = auto()  # it has none, or none yet
    HOLDS = auto()
    BROKEN = auto()


def seal_of(file: BinaryIO) -> Seal:
    """Return whether a file is what its seal was made for, byte by byte.

    Parameters
    ----------
    file
        Open for reading, at its begin.
    """
    try:
        head = file.read(144)
        length = meta_length(head)
        if length > _LARGEST_HEAD:
            return Seal.NONE
        head += file.read(length - len(head))
        elements, _ = _elements(head)
        told = json.loads(elements[_PRIVATE].rstrip(b"\0 "))["seal"].encode()
        place, blank = head.rindex(told), _BLANK_SEAL.encode()
    except (SpoolFileError, KeyError, ValueError, TypeError, AttributeError, RecursionError, struct.error):
        return Seal.NONE
    if told == blank:
        return Seal.NONE
    crc, size = zlib.crc32(head[:place] + blank + head[place + len(blank) :]), 0
    while chunk := file.read(_CHUNK):
        crc, size = zlib.crc32(chunk, crc), size + len(chunk)
    return Seal.HOLDS if told == _seal(size, crc) else Seal.BROKEN


def _seal(size: int, crc: int) -> bytes:
    return f"{size:016x} {crc:08x}".encode()


def _instance(instance_id: str, elements: dict[int, bytes], private: dict[str, Any]) -> Instance:
    return Instance(
        id=instance_id,
        sop_class_uid=_string(elements[_SOP_CLASS]),
        sop_instance_uid=_string(elements[_SOP_INSTANCE]),
        transfer_syntax_uid=_string(elements[_TRANSFER_SYNTAX]),
        size=0,
        received_at=float(private["received_at"]),
    )


def _origin(elements: dict[int, bytes], private: dict[str, Any]) -> Origin:
    return Origin(
        calling_ae=_string(elements[0x0017]),
        called_ae=private["called_ae"],
        receiving_ae=_string(elements[0x0018]),
        source=private["source"],
        association_id=private["association_id"],
        kind=private["kind"],
    )


def _text(value: str) -> bytes:
    # A peer may send anything as a UID: what came must come back, so odd bytes are kept as they were.
    return value.encode("latin-1", "replace")


def _string(value: bytes) -> str:
    return value.rstrip(b"\0 ").decode("latin-1")


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    """Return one element of group 0002 in Explicit VR Little Endian, of even length (PS3.5 7.1.1)."""
    if len(value) % 2:
        value += b"\0" if vr in (b"UI", b"OB") else b" "
    if vr in _LONG_LENGTH:
        return struct.pack("<HH2sHL", 0x0002, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value


def _elements(head: bytes) -> tuple[dict[int, bytes], int]:
    end = meta_length(head)
    if end > len(head):
        raise ValueError(f"the file ends within its File Meta Information of {end} bytes")
    found: dict[int, bytes] = {}
    position = 144
    while position < end:
        _, number, vr, length = struct.unpack_from("<HH2sH", head, position)
        position += 8
        if vr in _LONG_LENGTH:
            (length,) = struct.unpack_from("<L", head, position)
            position += 4
        found[number] = head[position : position + length]
        position += length
    return found, end
