"""A small picture of a frame, for a list: as a reader sees it, with the model's region drawn on it or not."""

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from orthanc_al.domain import Region
from orthanc_al.errors import UndecodableError
from orthanc_al.imaging.decode import grey_images

_MARK: Final = (255, 208, 95)  # blue, green, red: a light blue, which no film has
_HALO: Final = (0, 0, 0)


def thumbnail(path: Path, frame: int, side: int, region: Region | None = None) -> bytes:
    """Return a PNG of a frame of a Part 10 file.

    Parameters
    ----------
    frame
        1-based frame number.
    side
        Pixels of the longer side.
    region
        In pixels of the full-size frame; drawn as a rectangle.

    Raises
    ------
    UndecodableError
        As `orthanc_al.imaging.decode.grey_images`, or there is no such frame.
    SpoolFileError
        There is no such file.
    """
    for image in grey_images(path):
        if image.frame == frame:
            return _png(image.pixels, side, region)
    raise UndecodableError(f"there is no frame {frame}")


def picture_of_input(file: Path, side: int) -> bytes:
    """Return a PNG of a model input that the training cache kept: float16, shape (1, size, size)."""
    pixels = np.load(file, allow_pickle=False).astype(np.float32)[0]
    low, high = float(pixels.min()), float(pixels.max())
    return _png((pixels - low) / ((high - low) or 1.0), side, None)


def _png(pixels: NDArray[np.float32], side: int, region: Region | None) -> bytes:
    rows, columns = pixels.shape
    scale = side / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    grey = np.asarray(np.clip(small * 255, 0, 255), np.uint8)
    drawn: NDArray[Any] = grey if region is None else _marked(grey, region, scale)
    done, png = cv2.imencode(".png", drawn, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not done:
        raise UndecodableError("no picture can be made of the frame")
    return bytes(png.tobytes())


def _marked(grey: NDArray[np.uint8], region: Region, scale: float) -> NDArray[Any]:
    """Draw the rectangle, dark around it: it must be seen on white bone and on black air."""
    colour = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    first = (round(region.left * scale), round(region.top * scale))
    last = (round(region.right * scale) - 1, round(region.bottom * scale) - 1)
    width = max(2, round(max(grey.shape) / 240))
    if width > 2:  # on a small picture the rim would hide what it is around
        cv2.rectangle(colour, first, last, _HALO, width + 2)
    cv2.rectangle(colour, first, last, _MARK, width)
    return colour
