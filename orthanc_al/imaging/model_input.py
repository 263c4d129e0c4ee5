"""From a file to what a network sees: the one way that scoring, selection and learning share (promise 7)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.imaging.decode import STANDARD, Limits, grey_images
from orthanc_al.imaging.preprocess import preprocess


@dataclass(frozen=True, slots=True)
class ModelInput:
    """A frame, ready for the network.

    Attributes
    ----------
    frame
        1-based frame number.
    rows, columns
        Size of the frame that it was made from, in pixels.
    pixels
        float32, shape (1, size, size).
    """

    frame: int
    rows: int
    columns: int
    pixels: NDArray[np.float32]


def model_inputs(path: Path, spec: PreprocessingSpec, limits: Limits = STANDARD) -> Iterator[ModelInput]:
    """Yield the model input of each frame of a Part 10 file.

    Raises
    ------
    UndecodableError
        As `orthanc_al.imaging.decode.grey_images`.
    """
    for image in grey_images(path, limits):
        rows, columns = image.pixels.shape
        yield ModelInput(image.frame, rows, columns, preprocess(image.pixels, spec, image.padding))
