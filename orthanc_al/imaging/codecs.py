"""imagecodecs as a decoding plugin of pydicom 3: it releases the interpreter lock, the others hold it.

The size that a codestream declares is read from its own header before anything is decoded, so that 100
bytes can't ask for gigabytes.
"""

import struct
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

from orthanc_al.errors import UndecodableError

PLUGIN: Final = "imagecodecs"

_JPEG: Final = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
_JPEG_LOSSLESS: Final = (uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_LS: Final = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_JPEG_2000: Final = (uid.JPEG2000Lossless, uid.JPEG2000)
_HTJ2K: Final = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)

SYNTAXES: Final = frozenset({*_JPEG, *_JPEG_LOSSLESS, *_JPEG_LS, *_JPEG_2000, *_HTJ2K})
"""Transfer syntaxes that imagecodecs decodes here; pydicom and pylibjpeg-rle do the others."""

# JPEG start-of-frame markers (ITU-T T.81 table B.1) and JPEG-LS's SOF55 (ITU-T T.87 C.1.1).
_FRAME_MARKERS: Final = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_STANDALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})


def is_available(transfer_syntax: str) -> bool:
    """Whether the plugin has what it needs for a transfer syntax (pydicom asks this)."""
    return transfer_syntax in SYNTAXES


def declared_size(codestream: bytes) -> tuple[int, int]:
    """Return (rows, columns) that a JPEG, JPEG-LS or JPEG 2000 codestream declares.

    Raises
    ------
    UndecodableError
        It is none of these, or ends before it says so.
    """
    if codestream[:4] == b"\xff\x4f\xff\x51":  # SOC, SIZ (ITU-T T.800 A.5.1)
        if len(codestream) < 24:
            raise UndecodableError("the JPEG 2000 codestream ends within its header")
        right, bottom, left, top = struct.unpack_from(">4L", codestream, 8)
        return bottom - top, right - left
    if codestream[:8] == b"\0\0\0\x0cjP  ":  # JP2 boxes around the codestream: not DICOM, but seen
        start = codestream.find(b"\xff\x4f\xff\x51")
        if start > 0:
            return declared_size(codestream[start:])
    if codestream[:2] != b"\xff\xd8":
        raise UndecodableError("the frame is no JPEG, JPEG-LS or JPEG 2000 codestream")
    return _jpeg_size(codestream)


def decode_frame(source: bytes, runner: DecodeRunner) -> bytearray:
    """Decode one frame (what pydicom calls).

    Raises
    ------
    UndecodableError
        The codestream's size is not the header's.
    """
    rows, columns = declared_size(source)
    if (rows, columns) != (runner.rows, runner.columns):
        raise UndecodableError(
            f"the codestream is {columns} x {rows} pixels, the header says {runner.columns} x {runner.rows}"
        )
    return _in_container(_decode(source, str(runner.transfer_syntax)), runner)


def register() -> None:
    """Add the plugin to pydicom's decoders; asking twice is asking once."""
    for syntax in SYNTAXES:
        decoder = get_decoder(syntax)
        if PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(PLUGIN, (__name__, "decode_frame"))


def _decode(source: bytes, transfer_syntax: str) -> NDArray[Any]:
    if transfer_syntax in _JPEG:
        return np.asarray(imagecodecs.jpeg8_decode(source))
    if transfer_syntax in _JPEG_LOSSLESS:
        return np.asarray(imagecodecs.ljpeg_decode(source))
    if transfer_syntax in _JPEG_LS:
        return np.asarray(imagecodecs.jpegls_decode(source))
    return np.asarray(imagecodecs.jpeg2k_decode(source, numthreads=1))


def _in_container(decoded: NDArray[Any], runner: DecodeRunner) -> bytearray:
    """Return the pixels in cells of Bits Allocated, as pydicom expects them."""
    runner.set_option("bits_allocated", decoded.dtype.itemsize * 8)
    if runner.get_option("pixel_representation") == 1 and decoded.dtype.kind == "u":
        decoded = _sign_extended(decoded, runner.bits_stored)
    runner.set_option("planar_configuration", 0)
    return bytearray(decoded.tobytes())  # pydicom corrects signs in place


def _sign_extended(decoded: NDArray[Any], bits_stored: int) -> NDArray[Any]:
    """Give values of two's complement in ``bits_stored`` bits their sign.

    Codestreams that say unsigned hold the bits as they were stored.
    """
    spare = decoded.dtype.itemsize * 8 - bits_stored
    signed = decoded.view(np.dtype(f"i{decoded.dtype.itemsize}"))
    return signed if spare <= 0 else (signed << spare) >> spare


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
