"""From a file to what a network sees: the one way that scoring, selection and learning share (promise 7)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orthanc_al.domain.geometry import SlicePlace
from orthanc_al.domain.preprocessing import WINDOWED_SQUARE, PreprocessingSpec
from orthanc_al.imaging.border import guarded
from orthanc_al.imaging.decode import STANDARD, Limits, StoredFrame, Wanted, stored_frames
from orthanc_al.imaging.field import Field
from orthanc_al.imaging.geometry import pixel_ratio, place_of
from orthanc_al.imaging.preprocess import prepare
from orthanc_al.imaging.reading import MappedImage, map_image
from orthanc_al.imaging.tone import measured, toned


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
        float32, shape (channels, size, size).
    field
        The part of the frame that the square shows, in pixels of the full-size frame.
    place
        Where the frame lies in the patient, where it says so.
    """

    frame: int
    rows: int
    columns: int
    pixels: NDArray[np.float32]
    field: Field
    place: SlicePlace | None = None


def model_inputs(
    path: Path, spec: PreprocessingSpec, limits: Limits = STANDARD, frames: int = 0
) -> Iterator[ModelInput]:
    """Yield the model input of the frames of a Part 10 file.

    Parameters
    ----------
    frames
        At most these many, evenly spaced; 0: all.

    Raises
    ------
    UndecodableError
        As `orthanc_al.imaging.decode.grey_images`.
    """
    yield from inputs_of(map_image(path), spec, limits, frames)


def inputs_of(
    image: MappedImage, spec: PreprocessingSpec, limits: Limits = STANDARD, frames: int = 0
) -> Iterator[ModelInput]:
    """Yield the model input of the frames of an image that was read; see `model_inputs`."""
    stored = stored_frames(image, limits, Wanted(spec.decode, spec.size, frames))
    yield from guarded(_input(frame, spec) for frame in stored)


def _input(frame: StoredFrame, spec: PreprocessingSpec) -> ModelInput:
    if spec.name == WINDOWED_SQUARE:
        values, padding = measured(frame.pixels, frame.attributes, frame.bits_stored)
    else:
        values, padding = toned(
            frame.pixels, frame.attributes, frame.bits_stored, inverted=frame.inverted, fill=True
        )
    made = prepare(values, spec, padding, pixel_ratio(frame.attributes), filled=True)
    rows, columns = values.shape
    return ModelInput(
        frame.frame,
        frame.rows,
        frame.columns,
        made.pixels,
        made.field.scaled(frame.rows / rows, frame.columns / columns),
        place_of(frame.attributes, frame.rows, frame.columns),
    )
