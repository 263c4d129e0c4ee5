"""From stored values to what a reader sees: modality transform, VOI window, polarity (PS3.3 C.11).

All on floating point arrays of one frame; bright means dense at the end, and the range is [0, 1].
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from orthanc_al.errors import UndecodableError

Grey = NDArray[np.float32]


def modality_values(stored: NDArray[Any], frame: Dataset) -> Grey:
    """Apply the Modality LUT, or Rescale Slope and Intercept (PS3.3 C.11.1).

    Parameters
    ----------
    stored
        Stored values, shape (h, w).
    frame
        Holds the attributes that count for this frame (`orthanc_al.imaging.frames`).

    Raises
    ------
    UndecodableError
        Slope or intercept is there and no finite number: what the values mean can't be known.
    """
    table = _first_item(frame, "ModalityLUTSequence")
    if table is not None:
        return _looked_up(stored, table)
    slope, intercept = _told(frame, "RescaleSlope"), _told(frame, "RescaleIntercept")
    values = np.asarray(stored, np.float32)
    if slope is None or intercept is None or slope == 0 or (slope == 1 and intercept == 0):
        return values
    with np.errstate(over="ignore", invalid="ignore"):  # whoever takes the values looks for infinite ones
        return np.asarray(values * np.float32(slope) + np.float32(intercept), np.float32)


def windowed(values: Grey, frame: Dataset, padding: NDArray[np.bool_] | None = None) -> Grey:
    """Map values to [0, 1] by the first VOI LUT or window, else by their full range (PS3.3 C.11.2).

    A window that shows nothing (all one grey, where the values are not) is passed over: an
    archive's wrong window must not blind the model.
    """
    shown = _by_table(values, frame)
    if shown is None:
        shown = _by_window(values, frame)
    if shown is None or (np.ptp(shown) == 0 and np.ptp(values) > 0):
        return full_range(values, padding)
    return shown


def full_range(values: Grey, padding: NDArray[np.bool_] | None = None) -> Grey:
    """Map the range of the values that are no padding to [0, 1]; a flat image is all 0."""
    seen = values if padding is None or padding.all() else values[~padding]
    low, high = float(seen.min()), float(seen.max())
    if high <= low:
        return np.zeros_like(values)
    return np.asarray(np.clip((values - low) / (high - low), 0.0, 1.0), np.float32)


def linear(values: Grey, center: float, width: float) -> Grey:
    """LINEAR (PS3.3 C.11.2.1.2.1): width at least 1; of width 1 it is a step."""
    if width <= 1:
        return np.asarray(values > center - 0.5, np.float32)
    return np.asarray(np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0.0, 1.0), np.float32)


def linear_exact(values: Grey, center: float, width: float) -> Grey:
    """LINEAR_EXACT (PS3.3 C.11.2.1.3.2): width above 0."""
    return np.asarray(np.clip((values - center) / width + 0.5, 0.0, 1.0), np.float32)


def sigmoid(values: Grey, center: float, width: float) -> Grey:
    """SIGMOID (PS3.3 C.11.2.1.3.1): width above 0."""
    exponent = np.clip(-4.0 * (values - center) / width, -80.0, 80.0)
    return np.asarray(1.0 / (1.0 + np.exp(exponent)), np.float32)


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first value of a numeric attribute; None where it is missing or no finite number."""
    value = dataset.get(keyword)
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        value = value[0] if len(value) else None
    try:
        found = None if value is None else float(value)
    except (TypeError, ValueError):
        return None
    return found if found is not None and np.isfinite(found) else None


def _told(frame: Dataset, keyword: str) -> float | None:
    found = number(frame, keyword)
    if found is None and frame.get(keyword) not in (None, ""):
        raise UndecodableError(f"{keyword} is not a finite number")
    return found


_FUNCTIONS = {"LINEAR": linear, "LINEAR_EXACT": linear_exact, "SIGMOID": sigmoid}


def _by_window(values: Grey, frame: Dataset) -> Grey | None:
    center, width = number(frame, "WindowCenter"), number(frame, "WindowWidth")
    function = _FUNCTIONS.get(str(frame.get("VOILUTFunction") or "LINEAR").strip().upper(), linear)
    least = 1.0 if function is linear else 0.0
    if center is None or width is None or width < least or width == 0:
        return None
    return function(values, center, width)


def _by_table(values: Grey, frame: Dataset) -> Grey | None:
    table = _first_item(frame, "VOILUTSequence")
    return None if table is None else full_range(_looked_up(values, table))


def _looked_up(values: NDArray[Any], table: Dataset) -> Grey:
    """Map values through LUT Data; below and above the table they take its ends (PS3.3 C.11.1.1.1)."""
    descriptor = [int(part) for part in table.LUTDescriptor]
    entries = descriptor[0] or 1 << 16
    data: Any = table.LUTData
    if isinstance(data, bytes):  # Part of a sequence of unknown VR
        width = np.uint8 if len(data) < 2 * entries else np.uint16
        data = np.frombuffer(data, width)
    lut = np.atleast_1d(np.asarray(data, np.float32))[:entries]
    first = descriptor[1]
    if first >= 1 << 15 and np.min(values) < 0:  # US where SS was meant: pixels are signed
        first -= 1 << 16
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(lut) - 1)
    return np.asarray(lut[index], np.float32)


def _first_item(dataset: Dataset, keyword: str) -> Dataset | None:
    sequence = dataset.get(keyword)
    item: Dataset | None = sequence[0] if sequence else None
    whole = item is not None and item.get("LUTData") is not None and item.get("LUTDescriptor") is not None
    return item if whole else None
