"""Stored values of an instance, frame by frame: bounds first, then only the frames and the size asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID

from orthanc_al.domain.preprocessing import Decode, reduction
from orthanc_al.errors import UndecodableError
from orthanc_al.imaging import bounds, codecs
from orthanc_al.imaging.border import guarded
from orthanc_al.imaging.bounds import STANDARD, Limits
from orthanc_al.imaging.frames import frame_attributes
from orthanc_al.imaging.reading import MappedImage, map_image
from orthanc_al.imaging.tone import toned

__all__ = ["STANDARD", "GreyImage", "Limits", "StoredFrame", "Wanted", "grey_images", "stored_frames"]

_KEYWORDS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much of an instance is wanted.

    Attributes
    ----------
    decode
        Full size, or smaller where the codestream has it.
    size
        Side of what is made of the frames, in pixels; ``auto`` goes by it.
    frames
        At most these many frames, evenly spaced; 0: all.
    """

    decode: Decode = "full"
    size: int = 0
    frames: int = 0


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """One frame as it is stored.

    Attributes
    ----------
    frame
        1-based frame number.
    pixels
        Shape (h, w), of any numeric type; bits above ``bits_stored`` are not cleared in 8 and 16 bit
        ones.
    attributes
        Those that count for this frame (`orthanc_al.imaging.frames`).
    bits_stored
        Bits Stored (0028,0101).
    inverted
        MONOCHROME1: low values are bright.
    rows, columns
        Of the frame in full size; ``pixels`` may be smaller.
    """

    frame: int
    pixels: NDArray[Any]
    attributes: Dataset
    bits_stored: int
    inverted: bool
    rows: int
    columns: int


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
    """Yield the frames of a Part 10 file in full size, one at a time.

    Raises
    ------
    UndecodableError
        It can't be parsed, has no grey pixels, declares more than there is or than ``limits`` allow,
        or no decoder takes it; the text says which.
    SpoolFileError
        There is no such file.
    """
    yield from guarded(_grey(stored_frames(map_image(path), limits)))


def grey_images_of(dataset: FileDataset, limits: Limits = STANDARD) -> Iterator[GreyImage]:
    """Yield the frames of a data set that lies in memory; see `grey_images`."""
    keyword = next((name for name in _KEYWORDS if name in dataset), "")
    vr = str(dataset[keyword].VR) if keyword else ""
    value = memoryview(dataset[keyword].value if keyword else b"")
    yield from guarded(_grey(stored_frames(MappedImage(dataset, keyword, vr, value), limits)))


def stored_frames(
    image: MappedImage, limits: Limits = STANDARD, wanted: Wanted | None = None
) -> Iterator[StoredFrame]:
    """Yield the frames that are wanted, one at a time; native ones are views of the file, not copies.

    Raises
    ------
    UndecodableError
        As `grey_images`.
    """
    decoder = _decoder(image.header)
    bounds.check(image, limits, encapsulated=decoder.is_encapsulated)
    yield from guarded(_frames(image, decoder, wanted or Wanted()))


def _grey(frames: Iterator[StoredFrame]) -> Iterator[GreyImage]:
    for frame in frames:
        pixels, padding = toned(frame.pixels, frame.attributes, frame.bits_stored, inverted=frame.inverted)
        yield GreyImage(frame.frame, pixels, padding)


def _decoder(header: FileDataset) -> Decoder:
    syntax = str(header.file_meta.get("TransferSyntaxUID") or "missing")
    codecs.register()
    try:
        return get_decoder(syntax)
    except NotImplementedError as error:
        # A damaged file may have anything there, a patient's name too: only a UID is told.
        named = syntax if UID(syntax).is_valid or syntax == "missing" else "(not a UID)"
        raise UndecodableError(f"no decoder for the transfer syntax {named}") from error


def _frames(image: MappedImage, decoder: Decoder, wanted: Wanted) -> Iterator[StoredFrame]:
    header = image.header
    rows, columns = int(header.Rows), int(header.Columns)
    count = int(header.get("NumberOfFrames") or 1)
    numbers = _chosen(count, wanted.frames)
    halvings = reduction(wanted.decode, min(rows, columns), wanted.size)
    for number, pixels in zip(numbers, _pixels(image, decoder, numbers, halvings), strict=False):
        yield StoredFrame(
            frame=number + 1,
            pixels=pixels,
            attributes=frame_attributes(header, number),
            bits_stored=int(header.get("BitsStored") or 0),
            inverted=header.PhotometricInterpretation == "MONOCHROME1",
            rows=rows,
            columns=columns,
        )


def _chosen(count: int, most: int) -> Sequence[int]:
    """Return the numbers, from 0, of at most ``most`` frames, evenly spaced."""
    if not 0 < most < count:
        return range(count)
    return [(2 * number + 1) * count // (2 * most) for number in range(most)]


def _pixels(
    image: MappedImage, decoder: Decoder, numbers: Sequence[int], halvings: int
) -> Iterator[NDArray[Any]]:
    options = as_pixel_options(
        image.header, pixel_keyword=image.keyword, pixel_vr=image.vr, allow_excess_frames=False
    )
    if decoder.is_encapsulated:
        yield from _compressed(image, decoder, numbers, halvings, options)
        return
    if options["bits_allocated"] in (8, 16):  # the table of tones clears unused bits, without a copy
        options["correct_unused_bits"] = False
    for pixels, _ in decoder.iter_array(image.pixels, indices=numbers, raw=True, view_only=True, **options):
        yield pixels


def _compressed(
    image: MappedImage, decoder: Decoder, numbers: Sequence[int], halvings: int, options: dict[str, Any]
) -> Iterator[NDArray[Any]]:
    """Decode by our plugin, and where that can't do the first frame, by pydicom's others."""
    source = bytes(image.pixels)  # a view would be copied again for each frame
    bounds.check_items(source)
    count = options["number_of_frames"]
    if len(numbers) < count:
        frames = generate_frames(
            source, number_of_frames=count, extended_offsets=options.pop("extended_offsets", None)
        )
        chosen = frozenset(numbers)
        source = encapsulate([frame for number, frame in enumerate(frames) if number in chosen])
        options["number_of_frames"] = len(numbers)
    refused: list[UndecodableError] = []
    options |= {codecs.REDUCTION: halvings, codecs.REFUSED: refused}
    first: Exception | None = None
    for plugin in _plugins(decoder):
        done = 0
        try:
            for pixels, _ in decoder.iter_array(source, raw=True, decoding_plugin=plugin, **options):
                done += 1
                yield pixels
        except Exception as error:  # the same border: what one plugin can't do, another may
            first = first or error
            if done or refused:
                raise (*refused, error)[0] from error
        else:
            return
    if first is not None:
        raise first


def _plugins(decoder: Decoder) -> Sequence[str]:
    others = [name for name in decoder.available_plugins if name != codecs.PLUGIN]
    return [codecs.PLUGIN, *others] if decoder.UID in codecs.SYNTAXES else [""]
