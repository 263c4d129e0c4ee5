"""The one preprocessing that training and scoring share (promise 7): from grey levels to model input.

``grey-square`` version 1, in this order:

1. Padding is filled with the darkest grey of the rest (PS3.3 C.7.5.1.1.2: padding is no anatomy).
2. The image is squashed to a square, whatever its aspect, since the factory's training images are:
   by area where it shrinks, linearly where it grows.
3. Grey levels between two percentiles are stretched to [0, 1], the rest is clipped. Percentiles,
   so that a lead marker or a collimator edge does not decide the contrast.
4. Mean 0, standard deviation 1.

Steps 3 and 4 make the result independent of gain and offset: rescale slope, window and bit depth
drop out, but for the rounding of the stored values.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.errors import PackageRefusedError

_FLAT = 1e-6
"""Contrast, as a share of the largest grey value, at or below which an image is empty."""


def preprocess(
    image: NDArray[np.generic], spec: PreprocessingSpec, padding: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return the model input of one display-true grey image.

    Parameters
    ----------
    image
        Any integer or float type, shape (h, w): after rescale, VOI window and inversion of
        MONOCHROME1, so that bright means dense. Any unit and range.
    spec
        From the manifest of the model package.
    padding
        Shape (h, w), True where a pixel is Pixel Padding (0028,0120).

    Returns
    -------
    NDArray[np.float32]
        Shape (1, size, size), mean 0 and standard deviation 1 over what is not padding; all zeros
        for an image without contrast.

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
    square, inside = _squash(np.asarray(image, np.float32), spec.size, padding)
    return _standardise(square, inside, spec)[np.newaxis]


def _squash(
    image: NDArray[np.float32], size: int, padding: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the square image and where it shows something other than padding."""
    if padding is None or not padding.any() or padding.all():
        return _resize(image, size), np.ones((size, size), np.bool_)
    filled = np.where(padding, image[~padding].min(), image).astype(np.float32)
    inside = _resize((~padding).astype(np.float32), size) >= 0.5
    return _resize(filled, size), inside if inside.any() else np.ones_like(inside)


def _resize(image: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    shrinks = min(image.shape) >= size
    resized = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


def _standardise(
    square: NDArray[np.float32], inside: NDArray[np.bool_], spec: PreprocessingSpec
) -> NDArray[np.float32]:
    """Stretch between the percentiles, clip, then mean 0 and standard deviation 1 where ``inside``."""
    low, high = np.percentile(square[inside], (spec.low_percentile, spec.high_percentile))
    if high - low <= _FLAT * max(abs(low), abs(high)):
        return np.zeros_like(square)
    stretched = np.clip((square - low) / (high - low), 0.0, 1.0)
    stretched[~inside] = 0.0
    seen = stretched[inside]
    return np.asarray((stretched - seen.mean()) / seen.std(), np.float32)
