"""Grey images of an instance: bounds first, then pixels, then what a reader sees.

What a header declares is held against the bytes that are there before anything is allocated: files of
1 kB exist that declare gigabytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileDataset
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.uid import UID

from orthanc_al.errors import UndecodableError
from orthanc_al.imaging import codecs, display
from orthanc_al.imaging.frames import frame_attributes
from orthanc_al.imaging.reading import read_image

_GREY: Final = frozenset({"MONOCHROME1", "MONOCHROME2"})
_PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


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


_UNBOUND: Final = 16 << 20
STANDARD: Final = Limits()


@dataclass(frozen=True, slots=True)
class GreyImage:
    """One frame as a reader sees it.

    Attributes
    ----------
    frame
        1-based frame number.
    pixels
        float32, shape (h, w), in [0, 1]; bright means dense, MONOCHROME1 is inverted.
    padding
        Shape (h, w), True where a pixel is Pixel Padding (PS3.3 C.7.5.1.1.2); None where none is.
    """

    frame: int
    pixels: NDArray[np.float32]
    padding: NDArray[np.bool_] | None


def grey_images(path: Path, limits: Limits = STANDARD) -> Iterator[GreyImage]:
    """Yield the frames of a Part 10 file, one at a time.

    Raises
    ------
    UndecodableError
        It can't be parsed, has no grey pixels, declares more than there is or than ``limits`` allow,
        or no decoder takes it; the text says which.
    SpoolFileError
        There is no such file.
    """
    yield from grey_images_of(read_image(path), limits)


def grey_images_of(dataset: FileDataset, limits: Limits = STANDARD) -> Iterator[GreyImage]:
    """Yield the frames of a data set; see `grey_images`."""
    decoder = _checked(dataset, limits)
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    try:
        for index, stored in enumerate(_stored(dataset, decoder)):
            yield _seen(stored, frame_attributes(dataset, index), inverted=inverted, frame=index + 1)
    except UndecodableError:
        raise
    except Exception as error:  # a named border: decoders raise what they like
        text = str(error).strip().splitlines()[-1:] or [""]
        raise UndecodableError(
            f"the pixels can't be decoded ({type(error).__name__}: {text[0].strip()[:160]})"
        ) from error


def _checked(dataset: FileDataset, limits: Limits) -> Decoder:
    """Return the decoder of a data set whose declared size fits its bytes."""
    syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "missing")
    codecs.register()
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        # A damaged file may have anything there, a patient's name too: only a UID is told.
        named = syntax if UID(syntax).is_valid or syntax == "missing" else "(not a UID)"
        raise UndecodableError(f"no decoder for the transfer syntax {named}") from error
    try:
        _check_kind(dataset)
        _check_size(dataset, limits, encapsulated=decoder.is_encapsulated)
    except UndecodableError:
        raise
    except Exception as error:  # a named border: attributes are converted when they are asked for
        raise UndecodableError(f"the image's attributes can't be read ({type(error).__name__})") from error
    return decoder


def _check_kind(dataset: Dataset) -> None:
    if not any(name in dataset for name in _PIXELS):
        raise UndecodableError("there is no pixel data")
    photometric = str(dataset.get("PhotometricInterpretation") or "missing")
    if photometric not in _GREY or dataset.get("SamplesPerPixel", 1) != 1:
        raise UndecodableError(f"colour image ({photometric})")


def _check_size(dataset: Dataset, limits: Limits, *, encapsulated: bool) -> None:
    rows, columns = int(dataset.Rows or 0), int(dataset.Columns or 0)
    bits = int(dataset.BitsAllocated or 0)
    frames = int(dataset.get("NumberOfFrames") or 1)
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
    there = len(next(dataset[name].value or b"" for name in _PIXELS if name in dataset))
    if encapsulated:
        if frame_bytes > max(_UNBOUND, there * limits.expansion):
            raise UndecodableError(f"{there} compressed bytes can't be a frame of {frame_bytes} bytes")
    elif (rows * columns * bits * frames + 7) // 8 > there:
        raise UndecodableError(
            f"the header declares {frame_bytes * frames} bytes of pixels, {there} are there"
        )


def _stored(dataset: FileDataset, decoder: Decoder) -> Iterator[NDArray[Any]]:
    """Yield the stored values of each frame."""
    plugin = codecs.PLUGIN if decoder.UID in codecs.SYNTAXES else ""
    for frame, _ in decoder.iter_array(dataset, raw=True, decoding_plugin=plugin):
        yield frame


def _seen(stored: NDArray[Any], attributes: Dataset, *, inverted: bool, frame: int) -> GreyImage:
    padding = _padding(stored, attributes)
    values = display.modality_values(stored, attributes)
    if not np.isfinite(values).all():  # stored as such, or made so by a rescale slope
        raise UndecodableError("the pixels hold values that are not finite numbers")
    shown = display.windowed(values, attributes, padding)
    return GreyImage(frame, np.asarray(1.0 - shown, np.float32) if inverted else shown, padding)


def _padding(stored: NDArray[Any], attributes: Dataset) -> NDArray[np.bool_] | None:
    first = display.number(attributes, "PixelPaddingValue")
    if first is None:
        return None
    last = display.number(attributes, "PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    padding = np.asarray((stored >= low) & (stored <= high))
    return padding if padding.any() else None
