"""What a compressed frame says of itself, read from its own header before anything is decoded.

So 100 bytes can't ask for gigabytes, and a reduced decode knows how far it may go.
"""

import struct
from dataclasses import dataclass
from typing import Final

from orthanc_al.errors import UndecodableError

# JPEG start-of-frame markers (ITU-T T.81 table B.1) and JPEG-LS's SOF55 (ITU-T T.87 C.1.1).
_FRAME_MARKERS: Final = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})

_SOC_SIZ: Final = b"\xff\x4f\xff\x51"
_COD: Final = 0xFF52
_SOT: Final = 0xFF90


@dataclass(frozen=True, slots=True)
class Jpeg2000Header:
    """The main header of a JPEG 2000 codestream (ITU-T T.800 A.5.1, A.6.1).

    Attributes
    ----------
    precision, signed
        Bits of a sample of the first component, and whether it is two's complement.
    levels
        Decompositions: how often the size can be halved by leaving packets undecoded.
    """

    precision: int
    signed: bool
    levels: int


def declared_size(codestream: bytes) -> tuple[int, int]:
    """Return (rows, columns) that a JPEG, JPEG-LS or JPEG 2000 codestream declares.

    Raises
    ------
    UndecodableError
        It is none of these, or ends before it says so.
    """
    if codestream[:4] == _SOC_SIZ:
        if len(codestream) < 24:
            raise UndecodableError("the JPEG 2000 codestream ends within its header")
        right, bottom, left, top = struct.unpack_from(">4L", codestream, 8)
        return bottom - top, right - left
    if codestream[:8] == b"\0\0\0\x0cjP  ":  # JP2 boxes around the codestream: not DICOM, but seen
        start = codestream.find(_SOC_SIZ)
        if start > 0:
            return declared_size(codestream[start:])
    if codestream[:2] != b"\xff\xd8":
        raise UndecodableError("the frame is no JPEG, JPEG-LS or JPEG 2000 codestream")
    return _jpeg_size(codestream)


def jpeg_2000_header(codestream: bytes) -> Jpeg2000Header:
    """Return what the main header of a JPEG 2000 codestream says, within JP2 boxes too.

    Raises
    ------
    UndecodableError
        It has none, or it ends too early.
    """
    start = codestream.find(_SOC_SIZ)
    try:
        sample = codestream[start + 42]
        return Jpeg2000Header((sample & 0x7F) + 1, bool(sample & 0x80), _levels(codestream, start + 2))
    except (IndexError, struct.error) as error:
        raise UndecodableError("the JPEG 2000 codestream ends within its header") from error


def _levels(codestream: bytes, position: int) -> int:
    """Return the decomposition levels of COD; 0 where there is none before the first tile."""
    while True:
        marker, length = struct.unpack_from(">HH", codestream, position)
        if marker == _COD:
            return codestream[position + 9]
        if marker == _SOT or length < 2:
            return 0
        position += 2 + length


def _jpeg_size(codestream: bytes) -> tuple[int, int]:
    position = 2
    while position + 9 <= len(codestream):
        if codestream[position] != 0xFF:
            break
        marker = codestream[position + 1]
        if marker in _FRAME_MARKERS:
            rows, columns = struct.unpack_from(">HH", codestream, position + 5)
            return rows, columns
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _STANDALONE:
            position += 2
        else:
            position += 2 + struct.unpack_from(">H", codestream, position + 2)[0]
    raise UndecodableError("the JPEG codestream has no frame header")
