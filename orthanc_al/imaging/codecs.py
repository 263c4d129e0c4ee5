"""imagecodecs as a decoding plugin of pydicom 3: it releases the interpreter lock, the others hold it.

What pydicom expects of a plugin is kept: colour is left as the codestream has it (Photometric
Interpretation says what that is), and pixels come in cells of Bits Allocated. Beyond that, a frame can be
had at a half or a quarter of its size (`REDUCTION`), where its codestream holds smaller versions: JPEG 2000
and HTJ2K by leaving the highest wavelet levels undecoded (ITU-T T.800 B.5), baseline JPEG by a smaller
inverse DCT. The other syntaxes come in full.
"""

import io
import os
from typing import Any, Final

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

from orthanc_al.errors import UndecodableError
from orthanc_al.imaging.codestream import declared_size, jpeg_2000_header

PLUGIN: Final = "imagecodecs"

_JPEG: Final = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
_JPEG_LOSSLESS: Final = (uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_LS: Final = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_JPEG_2000: Final = (uid.JPEG2000Lossless, uid.JPEG2000)
_HTJ2K: Final = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)

SYNTAXES: Final = frozenset({*_JPEG, *_JPEG_LOSSLESS, *_JPEG_LS, *_JPEG_2000, *_HTJ2K})
"""Transfer syntaxes that imagecodecs decodes here; pydicom and pylibjpeg-rle do the others."""

REDUCIBLE: Final = frozenset({uid.JPEGBaseline8Bit, *_JPEG_2000, *_HTJ2K})
"""Transfer syntaxes whose frames can be had smaller than they are."""

REDUCTION: Final = "orthanc_al_reduction"
"""Option of pydicom's runner: how often the size is halved; rows and columns of the runner follow."""
REFUSED: Final = "orthanc_al_refused"
"""Option of pydicom's runner: a list that takes the errors after which no other plugin may try."""
_WHOLE: Final = "orthanc_al_whole"

THREADS: Final = "OPJ_NUM_THREADS"
"""Environment variable by which OpenJPEG, whoever calls it, is told how many threads a frame gets."""
_MOST_THREADS: Final = 4

_SCALED: Final = {
    1: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    3: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


def is_available(transfer_syntax: str) -> bool:
    """Whether the plugin has what it needs for a transfer syntax (pydicom asks this)."""
    return transfer_syntax in SYNTAXES


def decode_frame(source: bytes, runner: DecodeRunner) -> bytearray:
    """Decode one frame (what pydicom calls).

    Raises
    ------
    UndecodableError
        The codestream's size is not the header's.
    """
    whole = runner.get_option(_WHOLE) or (runner.rows, runner.columns)
    runner.set_option(_WHOLE, whole)
    _check_size(source, whole, runner)
    syntax = str(runner.transfer_syntax)
    reduction = int(runner.get_option(REDUCTION) or 0)
    decoded = _reduced(source, syntax, reduction, runner) if reduction else None
    if decoded is None:
        decoded = _decode(source, syntax, runner.samples_per_pixel)
    runner.set_option("rows", decoded.shape[0])
    runner.set_option("columns", decoded.shape[1])
    return _in_container(decoded, runner)


def _share_a_frame() -> None:
    """Have OpenJPEG decode one frame by several threads of its own.

    Pillow, by which reduced frames are decoded, holds the interpreter lock meanwhile: without that, one of
    several cores would work. OpenJPEG asks for this variable with each frame; who sets it is obeyed.
    """
    os.environ.setdefault(THREADS, str(min(len(os.sched_getaffinity(0)), _MOST_THREADS)))


def register() -> None:
    """Add the plugin to pydicom's decoders; asking twice is asking once."""
    _share_a_frame()
    for syntax in SYNTAXES:
        decoder = get_decoder(syntax)
        if PLUGIN not in decoder.available_plugins:
            decoder.add_plugin(PLUGIN, (__name__, "decode_frame"))


def _check_size(source: bytes, whole: tuple[int, int], runner: DecodeRunner) -> None:
    fault = _size_fault(source, whole)
    if fault is not None:
        refused = runner.get_option(REFUSED)
        if refused is not None:
            refused.append(fault)
        raise fault


def _size_fault(source: bytes, whole: tuple[int, int]) -> UndecodableError | None:
    try:
        rows, columns = declared_size(source)
    except UndecodableError as error:
        return error
    if (rows, columns) == whole:
        return None
    return UndecodableError(
        f"the codestream is {columns} x {rows} pixels, the header says {whole[1]} x {whole[0]}"
    )


def _decode(source: bytes, transfer_syntax: str, samples: int) -> NDArray[Any]:
    if transfer_syntax in _JPEG:
        # From a space to itself: the components as they are coded, as the standard has them (PS3.5 8.2.1).
        space = None if samples == 1 else "YCBCR"
        return np.asarray(imagecodecs.jpeg8_decode(source, colorspace=space, outcolorspace=space))
    if transfer_syntax in _JPEG_LOSSLESS:
        return np.asarray(imagecodecs.ljpeg_decode(source))
    if transfer_syntax in _JPEG_LS:
        return np.asarray(imagecodecs.jpegls_decode(source))
    if transfer_syntax in _HTJ2K and transfer_syntax != uid.HTJ2K:
        return np.asarray(imagecodecs.htj2k_decode(source))
    if transfer_syntax == uid.HTJ2K and samples == 1:
        header = jpeg_2000_header(source)
        if _has_room(header.precision, signed=header.signed):
            return _open_jph(source, header.precision)
    return np.asarray(imagecodecs.jpeg2k_decode(source, numthreads=1))


def _has_room(bits: int, *, signed: bool) -> bool:
    """Whether cells of 8 or 16 bits hold what overshoots values of ``bits``, above and below."""
    return (8 if bits <= 8 else 16) - bits >= (1 if signed else 2)


def _open_jph(source: bytes, bits: int, reduction: int = 0) -> NDArray[Any]:
    """Decode HTJ2K by OpenJPH, twice as fast as OpenJPEG, which limits nothing.

    What is not lossless and in full overshoots where white meets black: above the largest value, and below 0,
    where it comes round as a large one. With room to spare the sign tells; without, a frame is not for it.
    """
    decoded = np.asarray(imagecodecs.htj2k_decode(source, skipres=reduction or None))
    if decoded.dtype.kind == "i":
        return _limited(decoded, bits)
    signed = decoded.view(np.dtype(f"i{decoded.dtype.itemsize}"))
    return np.asarray(np.clip(signed, 0, (1 << bits) - 1)).view(decoded.dtype)


def _limited(decoded: NDArray[Any], bits: int) -> NDArray[Any]:
    """Limit values to what ``bits`` can say: an overshoot beyond would be cut off and wrap around."""
    if bits >= decoded.dtype.itemsize * 8:
        return decoded
    least = -(1 << (bits - 1)) if decoded.dtype.kind == "i" else 0
    return np.asarray(np.clip(decoded, least, least + (1 << bits) - 1))


def _reduced(
    source: bytes, transfer_syntax: str, reduction: int, runner: DecodeRunner
) -> NDArray[Any] | None:
    """Return the grey frame with its sides halved ``reduction`` times; None where it can't be had so."""
    if transfer_syntax == uid.JPEGBaseline8Bit:
        flags = _SCALED[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
        scaled = cv2.imdecode(np.frombuffer(source, np.uint8), flags)
        return None if scaled is None else np.asarray(scaled)
    if transfer_syntax not in REDUCIBLE:
        return None
    header, signed = jpeg_2000_header(source), runner.get_option("pixel_representation") == 1
    if header.levels < reduction or header.signed != signed:  # bits of another sign have no means
        return None
    bits = min(header.precision, runner.bits_stored)
    if transfer_syntax in _HTJ2K and header.precision > 8 and _has_room(bits, signed=signed):
        return _centred(_open_jph(source, bits, reduction), reduction)
    decoded = _reduced_jpeg_2000(source, reduction)
    return None if decoded is None else _centred(_limited(decoded, bits), reduction)


def _centred(decoded: NDArray[Any], reduction: int) -> NDArray[Any]:
    """Move a wavelet's low-pass image to where its pixels belong.

    Its samples stand at the first of the 2^r pixels that they stand for and not in their middle (ITU-T
    T.800 F.3): left so, the picture would lie (1 - 2^-r) / 2 of its pixels too far up and left.
    """
    offset = (1.0 - 0.5**reduction) / 2
    between = np.array([1.0 - offset, offset], np.float32)
    kernel = np.outer(between, between)
    moved = cv2.filter2D(decoded, -1, kernel, anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(moved)


def _reduced_jpeg_2000(source: bytes, reduction: int) -> NDArray[Any] | None:
    """Decode by Pillow, whose pixels are unsigned and shifted up to 8 or 16 bits."""
    header = jpeg_2000_header(source)
    if header.precision > 16:
        return None
    try:
        with Image.open(io.BytesIO(source), formats=("JPEG2000",)) as image:
            image.reduce = reduction  # type: ignore[method-assign, assignment]  # Pillow's documented way
            # A codestream's reduced sides are rounded up (ITU-T T.800 B-15); Pillow rounds to the nearest,
            # and then calls the data broken: 5 columns, halved twice, are 2 and not 1.
            image._size = _whole(image.size, reduction)  # noqa: SLF001 - plugins' own
            image.load()
            decoded = np.asarray(image)
    except (OSError, Image.DecompressionBombError):  # what Pillow does not take may decode in full
        return None
    bits = decoded.dtype.itemsize * 8
    if decoded.ndim != 2:
        return None
    plain = decoded >> (bits - header.precision)
    if not header.signed:
        return plain
    signed = plain.astype(np.int32) - (1 << (header.precision - 1))
    return signed.astype(np.dtype(f"i{decoded.dtype.itemsize}"))


def _whole(size: tuple[int, int], reduction: int) -> tuple[int, int]:
    """Return a size with its sides rounded up to what can be halved ``reduction`` times."""
    columns, rows = ((-(-side >> reduction)) << reduction for side in size)
    return columns, rows


def _in_container(decoded: NDArray[Any], runner: DecodeRunner) -> bytearray:
    """Return the pixels in cells of Bits Allocated, as pydicom expects them."""
    runner.set_option("bits_allocated", decoded.dtype.itemsize * 8)
    if runner.get_option("pixel_representation") == 1 and decoded.dtype.kind == "u":
        decoded = _sign_extended(decoded, runner.bits_stored)
    runner.set_option("planar_configuration", 0)
    return bytearray(np.ascontiguousarray(decoded).data)  # pydicom corrects signs in place


def _sign_extended(decoded: NDArray[Any], bits_stored: int) -> NDArray[Any]:
    """Give values of two's complement in ``bits_stored`` bits their sign.

    Codestreams that say unsigned hold the bits as they were stored.
    """
    spare = decoded.dtype.itemsize * 8 - bits_stored
    signed = decoded.view(np.dtype(f"i{decoded.dtype.itemsize}"))
    return signed if spare <= 0 else (signed << spare) >> spare
