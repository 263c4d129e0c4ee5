"""What a header declares, held against the bytes that are there before anything is allocated.

Files of 1 kB exist that declare gigabytes.
"""

from dataclasses import dataclass
from typing import Final

from pydicom import Dataset

from orthanc_al.errors import UndecodableError
from orthanc_al.imaging.reading import MappedImage

_GREY: Final = frozenset({"MONOCHROME1", "MONOCHROME2"})
_UNBOUND: Final = 16 << 20
_ITEM: Final = b"\xfe\xff\x00\xe0"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an instance may ask for.

    Attributes
    ----------
    frame_bytes
        Of one decoded frame.
    frames
        Of one instance.
    expansion
        Decoded bytes for a compressed one; small frames (16 MiB) are free of it, since an empty film
        compresses to nearly nothing.
    """

    frame_bytes: int = 512 << 20
    frames: int = 2000
    expansion: int = 2000


STANDARD: Final = Limits()


def check(image: MappedImage, limits: Limits, *, encapsulated: bool) -> None:
    """Refuse what is no grey picture, or declares more than there is or than ``limits`` allow.

    Raises
    ------
    UndecodableError
        The text says which.
    """
    try:
        _check_kind(image)
        _check_size(image.header, len(image.pixels), limits, encapsulated=encapsulated)
    except UndecodableError:
        raise
    except Exception as error:  # a named border: attributes are converted when they are asked for
        raise UndecodableError(f"the image's attributes can't be read ({type(error).__name__})") from error


def check_items(encapsulated: bytes) -> None:
    """Refuse compressed frames that the file ends within (PS3.5 A.4): some decoders fill up what is missing.

    Raises
    ------
    UndecodableError
        An item is longer than what is left.
    """
    position = 0
    while encapsulated[position : position + 4] == _ITEM and position + 8 <= len(encapsulated):
        position += 8 + int.from_bytes(encapsulated[position + 4 : position + 8], "little")
    if position > len(encapsulated):
        raise UndecodableError("the compressed pixel data end within a frame")


def _check_kind(image: MappedImage) -> None:
    if not image.keyword:
        raise UndecodableError("there is no pixel data")
    photometric = str(image.header.get("PhotometricInterpretation") or "missing")
    if photometric not in _GREY or image.header.get("SamplesPerPixel", 1) != 1:
        raise UndecodableError(f"colour image ({photometric})")


def _check_size(header: Dataset, there: int, limits: Limits, *, encapsulated: bool) -> None:
    rows, columns = int(header.Rows or 0), int(header.Columns or 0)
    bits = int(header.BitsAllocated or 0)
    frames = int(1 if header.get("NumberOfFrames") is None else header.NumberOfFrames)
    if min(rows, columns, bits, frames) < 1:
        raise UndecodableError(
            f"the header declares {frames} frame(s) of {columns} x {rows} pixels of {bits} bits"
        )
    frame_bytes = (rows * columns * bits + 7) // 8
    if frame_bytes > limits.frame_bytes or frames > limits.frames:
        raise UndecodableError(
            f"{frames} frame(s) of {frame_bytes} bytes are declared, {limits.frames} of "
            f"{limits.frame_bytes} are the most that is decoded"
        )
    if encapsulated:
        if frame_bytes > max(_UNBOUND, there * limits.expansion):
            raise UndecodableError(f"{there} compressed bytes can't be a frame of {frame_bytes} bytes")
    elif (rows * columns * bits * frames + 7) // 8 > there:
        raise UndecodableError(
            f"the header declares {frame_bytes * frames} bytes of pixels, {there} are there"
        )
