"""From stored values to what a reader sees, by one look-up a pixel.

Modality transform, VOI and polarity depend on a pixel's value alone, and on which values a frame has. So
they are done on the distinct values (65,536 at the most), by `orthanc_al.imaging.display`, and the frame is
looked up in the table that comes out: the same numbers, bit for bit, in a tenth of the time.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from orthanc_al.errors import UndecodableError
from orthanc_al.imaging import display
from orthanc_al.imaging.display import Grey

Mask = NDArray[np.bool_]
Tones = Callable[[NDArray[Any]], tuple[Grey, Mask | None]]


def toned(
    stored: NDArray[Any], attributes: Dataset, bits_stored: int, *, inverted: bool, fill: bool = False
) -> tuple[Grey, Mask | None]:
    """Return what a reader sees, in [0, 1], and where padding is.

    Parameters
    ----------
    stored
        Shape (h, w).
    attributes
        Those that count for the frame (`orthanc_al.imaging.frames`).
    bits_stored
        Bits above these are cleared in 8 and 16 bit pixels (PS3.5 8.1.1).
    inverted
        MONOCHROME1.
    fill
        Padding becomes the darkest grey of the rest (not where there is nothing else).

    Raises
    ------
    UndecodableError
        A value is not a finite number.
    """

    def tones(values: NDArray[Any]) -> tuple[Grey, Mask | None]:
        padding = _padding(values, attributes)
        shown = display.windowed(_finite(display.modality_values(values, attributes)), attributes, padding)
        if inverted:
            shown = np.asarray(1.0 - shown, np.float32)
        return _filled(shown, padding) if fill else shown, padding

    return _looked_up(stored, bits_stored, tones)


def measured(stored: NDArray[Any], attributes: Dataset, bits_stored: int) -> tuple[Grey, Mask | None]:
    """Return the values that the modality transform gives (Hounsfield units in CT), padding filled.

    Padding becomes the lowest value of the rest. Raises as `toned`.
    """

    def tones(values: NDArray[Any]) -> tuple[Grey, Mask | None]:
        padding = _padding(values, attributes)
        return _filled(_finite(display.modality_values(values, attributes)), padding), padding

    return _looked_up(stored, bits_stored, tones)


def _looked_up(stored: NDArray[Any], bits_stored: int, tones: Tones) -> tuple[Grey, Mask | None]:
    if stored.dtype.kind == "f" or stored.dtype.itemsize > 2 or stored.size == 0:
        return tones(stored)
    native = stored if stored.dtype.isnative else stored.astype(stored.dtype.newbyteorder("="))
    cell = np.dtype(f"u{native.dtype.itemsize}")
    codes = native.view(cell)
    # Between the lowest and the highest: over all 65,536 it takes twenty times as long for a slice of CT.
    low, high = (int(value) for value in cv2.minMaxLoc(codes)[:2])
    histogram = cv2.calcHist([codes], [0], None, [high - low + 1], [low, high + 1])
    present = (np.flatnonzero(histogram) + low).astype(cell)
    shown, padding = tones(_cleared(present.view(native.dtype), bits_stored))
    return _table(codes, present, shown), None if padding is None else _table(codes, present, padding) != 0


def _table(codes: NDArray[Any], present: NDArray[Any], entries: NDArray[Any]) -> NDArray[Any]:
    table: NDArray[Any] = np.zeros(
        1 << 8 * codes.dtype.itemsize, np.uint8 if entries.dtype == np.bool_ else np.float32
    )
    table[present] = entries
    return np.asarray(cv2.LUT(codes, table)).reshape(codes.shape)


def _cleared(values: NDArray[Any], bits_stored: int) -> NDArray[Any]:
    spare = values.dtype.itemsize * 8 - bits_stored
    return (values << spare) >> spare if 0 < spare < values.dtype.itemsize * 8 else values


def _finite(values: Grey) -> Grey:
    if not np.isfinite(values).all():  # stored as such, or made so by a rescale slope
        raise UndecodableError("the pixels hold values that are not finite numbers")
    return values


def _filled(shown: Grey, padding: Mask | None) -> Grey:
    if padding is None or padding.all():
        return shown
    return np.where(padding, shown[~padding].min(), shown)


def _padding(stored: NDArray[Any], attributes: Dataset) -> Mask | None:
    first = display.number(attributes, "PixelPaddingValue")
    if first is None:
        return None
    last = display.number(attributes, "PixelPaddingRangeLimit")
    low, high = sorted((first, first if last is None else last))
    padding = np.asarray((stored >= low) & (stored <= high))
    return padding if padding.any() else None
