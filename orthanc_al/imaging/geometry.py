"""Where a frame lies in the patient, and the shape of its pixels, from its attributes."""

import math
from collections.abc import Iterable
from typing import Any

from pydicom import Dataset

from orthanc_al.domain.geometry import SlicePlace

_TOLERANCE = 1e-2
"""Of the length of a direction cosine vector, and of the right angle between the two."""


def place_of(attributes: Dataset, rows: int, columns: int) -> SlicePlace | None:
    """Return the place of a frame; None where it names none, or none that can be."""
    position = _numbers(attributes, "ImagePositionPatient", 3)
    orientation = _numbers(attributes, "ImageOrientationPatient", 6)
    if position is None or orientation is None:
        return None
    x, y, z = position
    a, b, c, d, e, f = orientation
    dot = a * d + b * e + c * f
    if not (_is_unit((a, b, c)) and _is_unit((d, e, f)) and abs(dot) < _TOLERANCE):
        return None
    return SlicePlace((x, y, z), (a, b, c, d, e, f), rows, columns)


def pixel_ratio(attributes: Dataset) -> float:
    """Return height over width of a pixel (PS3.3 C.7.6.3.1.7); 1 where nothing says otherwise."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        pair = _numbers(attributes, keyword, 2)
        if pair is not None and min(pair) > 0:
            return pair[0] / pair[1]
    return 1.0


def _is_unit(vector: Iterable[float]) -> bool:
    return abs(math.hypot(*vector) - 1.0) < _TOLERANCE


def _numbers(attributes: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    value: Any = attributes.get(keyword)
    try:
        numbers = tuple(float(part) for part in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None
