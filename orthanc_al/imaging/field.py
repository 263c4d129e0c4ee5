"""The collimated field: what is left of a film without its uniform borders and what is burned into them."""

from dataclasses import dataclass
from typing import Any, Final, Self

import cv2
import numpy as np
from numpy.typing import NDArray

_LOOK: Final = 128
"""Longest side of the thumbnail that is looked at, in pixels."""
_UNIFORM: Final = 0.04
"""Spread of a border's row, as a share of the image's: less is uniform."""
_MOST: Final = 0.4
"""Largest share of a side that is taken for border."""


@dataclass(frozen=True, slots=True)
class Field:
    """A rectangle in an image, in pixels from its top left corner; ends are exclusive."""

    top: float
    left: float
    bottom: float
    right: float

    @classmethod
    def whole(cls, rows: int, columns: int) -> Self:
        """Return all of an image."""
        return cls(0, 0, rows, columns)

    def of(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the part of an image, shape (h, w), that lies within; a view."""
        return image[int(self.top) : int(self.bottom), int(self.left) : int(self.right)]

    def around(self, top: int, left: int, tall: float, wide: float, size: int) -> Self:
        """Return what a square shows in which this rectangle begins at (top, left).

        Parameters
        ----------
        tall, wide
            Pixels of the image that a pixel of the square stands for.
        size
            Side of the square.
        """
        first, begin = self.top - top * tall, self.left - left * wide
        return type(self)(first, begin, first + size * tall, begin + size * wide)

    def scaled(self, rows: float, columns: float) -> Self:
        """Return it in an image that is larger by these factors."""
        return type(self)(self.top * rows, self.left * columns, self.bottom * rows, self.right * columns)


def collimated(image: NDArray[np.float32]) -> Field:
    """Return the field of an image, shape (h, w).

    From each side rows (columns) are left out while eight in ten of their pixels differ by less than 4 % of
    the image's own range: the shutter is uniform, and letters within it are thin. At most 40 % of a
    side goes, and where nothing would be left, nothing goes.
    """
    rows, columns = image.shape
    scale = min(1.0, _LOOK / max(rows, columns))
    size = (max(round(columns * scale), 1), max(round(rows * scale), 1))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
    low, high = np.percentile(small, (1, 99))
    if high <= low:
        return Field.whole(rows, columns)
    top, bottom = _ends(_spread(small, 1) <= _UNIFORM * (high - low))
    left, right = _ends(_spread(small, 0) <= _UNIFORM * (high - low))
    tall, wide = rows / small.shape[0], columns / small.shape[1]
    return Field(int(np.ceil(top * tall)), int(np.ceil(left * wide)), int(bottom * tall), int(right * wide))


def _spread(small: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    low, high = np.percentile(small, (10, 90), axis=axis)
    return np.asarray(high - low, np.float32)


def _ends(uniform: NDArray[np.bool_]) -> tuple[int, int]:
    """Return where the field begins and ends along one axis."""
    seen = np.flatnonzero(~uniform)
    count, most = len(uniform), int(_MOST * len(uniform))
    if not len(seen):
        return 0, count
    return min(int(seen[0]), most), max(int(seen[-1]) + 1, count - most)
