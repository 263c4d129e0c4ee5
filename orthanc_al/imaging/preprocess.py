"""The preprocessings that training and scoring share (promise 7): from grey levels to model input.

``grey-square`` version 1, in this order:

1. Padding is filled with the darkest grey of the rest (PS3.3 C.7.5.1.1.2: padding is no anatomy).
2. The image is squashed to a square, whatever its aspect, since the factory's training images are:
   by area where it shrinks, linearly where it grows.
3. Grey levels between two percentiles are stretched to [0, 1], the rest is clipped. Percentiles,
   so that a lead marker or a collimator edge does not decide the contrast.
4. Mean 0, standard deviation 1.

Steps 3 and 4 make the result independent of gain and offset: rescale slope, window and bit depth
drop out, but for the rounding of the stored values.

``grey-square`` version 2 crops to the collimated field first (`orthanc_al.imaging.field`), then fits it
into the square by its true aspect (Pixel Aspect Ratio or spacing); what is left beside it is 0 and, like
padding, takes no part in steps 3 and 4.

``windowed-square`` version 1 is for values that have a unit, as CT has: steps 1 (the lowest value) and 2,
then one channel for each window, from 0 at its lower end to 1 at its upper one.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from orthanc_al.domain.preprocessing import WINDOWED_SQUARE, PreprocessingSpec
from orthanc_al.errors import PackageRefusedError
from orthanc_al.imaging.display import linear_exact
from orthanc_al.imaging.field import Field, collimated

_FLAT = 1e-6
"""Contrast, as a share of the largest grey value, at or below which an image is empty."""

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model input, and what it shows.

    Attributes
    ----------
    pixels
        float32, shape (channels, size, size).
    field
        The part of the image that the square shows, in pixels; it may reach beyond the image.
    """

    pixels: Grey
    field: Field


def preprocess(
    image: NDArray[np.generic], spec: PreprocessingSpec, padding: Mask | None = None, ratio: float = 1.0
) -> Grey:
    """Return the model input of one image, shape (channels, size, size); see `prepare`."""
    return prepare(image, spec, padding, ratio).pixels


def prepare(
    image: NDArray[np.generic],
    spec: PreprocessingSpec,
    padding: Mask | None = None,
    ratio: float = 1.0,
    *,
    filled: bool = False,
) -> Prepared:
    """Return the model input of one image.

    Parameters
    ----------
    image
        Any integer or float type, shape (h, w). For ``grey-square`` display-true: after rescale, VOI
        window and inversion of MONOCHROME1, so that bright means dense, in any unit and range. For
        ``windowed-square`` in Hounsfield units.
    spec
        From the manifest of the model package.
    padding
        Shape (h, w), True where a pixel is Pixel Padding (0028,0120).
    ratio
        Height over width of a pixel.
    filled
        Step 1 is done already.

    Returns
    -------
    Prepared
        ``grey-square``: mean 0 and standard deviation 1 over what is not padding; all zeros for an
        image without contrast. ``windowed-square``: in [0, 1].

    Raises
    ------
    PackageRefusedError
        The package names a preprocessing that this program does not know.
    ValueError
        The image is not two-dimensional, or is empty.
    """
    if not spec.known:
        raise PackageRefusedError(
            f"preprocessing {spec.name!r} version {spec.version} is not known to this version of orthanc_al; "
            "update orthanc_al, or use a model package made for this version"
        )
    if image.ndim != 2 or image.size == 0:
        raise ValueError(f"expected one grey image of shape (h, w), got shape {image.shape}")
    grey = np.asarray(image, np.float32)
    padded = None if padding is None or not padding.any() or padding.all() else padding
    if padded is not None and not filled:
        grey = np.where(padded, grey[~padded].min(), grey).astype(np.float32)
    if spec.name == WINDOWED_SQUARE:
        return _windowed(grey, spec)
    return _squashed(grey, padded, spec) if spec.version == 1 else _fitted(grey, padded, spec, ratio)


def _windowed(image: Grey, spec: PreprocessingSpec) -> Prepared:
    small = _resize(image, spec.size, spec.size)
    channels = [linear_exact(small, center, width) for center, width in spec.windows]
    return Prepared(np.stack(channels), Field.whole(*image.shape))


def _squashed(image: Grey, padding: Mask | None, spec: PreprocessingSpec) -> Prepared:
    square = _resize(image, spec.size, spec.size)
    inside = _inside(padding, spec.size, spec.size)
    return Prepared(_standardise(square, inside, spec)[np.newaxis], Field.whole(*image.shape))


def _fitted(image: Grey, padding: Mask | None, spec: PreprocessingSpec, ratio: float) -> Prepared:
    field = collimated(image)
    part = field.of(image)
    tall, wide = part.shape[0] * ratio, float(part.shape[1])
    scale = spec.size / max(tall, wide)
    height, width = max(round(tall * scale), 1), max(round(wide * scale), 1)
    top, left = (spec.size - height) // 2, (spec.size - width) // 2
    square = np.zeros((spec.size, spec.size), np.float32)
    inside = np.zeros((spec.size, spec.size), np.bool_)
    square[top : top + height, left : left + width] = _resize(part, height, width)
    shown = _inside(None if padding is None else field.of(padding), height, width)
    inside[top : top + height, left : left + width] = shown
    shows = field.around(top, left, part.shape[0] / height, part.shape[1] / width, spec.size)
    return Prepared(_standardise(square, inside, spec)[np.newaxis], shows)


def _inside(padding: Mask | None, height: int, width: int) -> Mask:
    """Return where a small image shows something other than padding."""
    everywhere = np.ones((height, width), np.bool_)
    if padding is None:
        return everywhere
    inside = _resize((~padding).astype(np.float32), height, width) >= 0.5
    return inside if inside.any() else everywhere


def _resize(image: Grey, height: int, width: int) -> Grey:
    shrinks = min(image.shape) >= max(height, width)
    resized = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    return np.asarray(resized, np.float32)


def _standardise(square: Grey, inside: Mask, spec: PreprocessingSpec) -> Grey:
    """Stretch between the percentiles, clip, then mean 0 and standard deviation 1 where ``inside``."""
    low, high = np.percentile(square[inside], (spec.low_percentile, spec.high_percentile))
    if high - low <= _FLAT * max(abs(low), abs(high)):
        return np.zeros_like(square)
    stretched = np.clip((square - low) / (high - low), 0.0, 1.0)
    stretched[~inside] = 0.0
    seen = stretched[inside]
    return np.asarray((stretched - seen.mean()) / seen.std(), np.float32)
