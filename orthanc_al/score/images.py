"""From the files of instances to their scores by one model."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orthanc_al.domain import ImageScore, Region
from orthanc_al.errors import InstanceError, SpoolFileError
from orthanc_al.imaging.model_input import ModelInput, inputs_of
from orthanc_al.imaging.reading import MappedImage, map_image
from orthanc_al.inference.region import class_activation, region
from orthanc_al.inference.running import RunningModel
from orthanc_al.ledger.predictions import ScoredImage

_BATCH: Final = 8
"""Frames a run: more gain nothing on a CPU, and hold more memory."""


Made = list[ScoredImage] | InstanceError | SpoolFileError
"""The scores of an image's frames, or why it has none."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the network is to see, and whose it is."""

    scored: list[ScoredImage]
    instance_id: str
    given: ModelInput
    decode_seconds: float


def score_images(path: Path, instance_id: str, model: RunningModel) -> list[ScoredImage]:
    """Return the scores of the frames of a Part 10 file, of all or of as many as the package wants.

    Raises
    ------
    UndecodableError
        No grey pixels can be had.
    ModelError
        The model gives no finite number.
    """
    (made,) = score_together([(instance_id, lambda: map_image(path))], model)
    if isinstance(made, Exception):
        raise made
    return made


def score_together(
    images: Iterable[tuple[str, Callable[[], MappedImage]]], model: RunningModel
) -> list[Made]:
    """Return what becomes of each of several images, whose frames run through the network together.

    Parameters
    ----------
    images
        Instance id, and what reads it.

    Raises
    ------
    ModelError
        The model gives no finite number, for whichever of them.
    """
    made: list[Made] = []
    frames: list[_Frame] = []
    for instance_id, read in images:
        scored: list[ScoredImage] = []
        made.append(scored)
        try:
            for frame in _frames(instance_id, read, model, scored):
                frames.append(frame)
                if len(frames) == _BATCH:
                    _run(frames, model)
                    frames = []
        except (InstanceError, SpoolFileError) as error:
            made[-1] = error
    if frames:
        _run(frames, model)
    return made


def _frames(
    instance_id: str, read: Callable[[], MappedImage], model: RunningModel, scored: list[ScoredImage]
) -> Iterator[_Frame]:
    manifest = model.package.manifest
    started = time.perf_counter()
    for given in inputs_of(read(), manifest.preprocessing, frames=manifest.frames):
        yield _Frame(scored, instance_id, given, time.perf_counter() - started)
        started = time.perf_counter()


def _run(frames: Sequence[_Frame], model: RunningModel) -> None:
    """Run frames through the network and give each image the scores of its own."""
    started = time.perf_counter()
    outputs = model.session.run(np.stack([frame.given.pixels for frame in frames]))
    run_seconds = (time.perf_counter() - started) / len(frames)
    for number, frame in enumerate(frames):
        regions = (
            _region(class_activation(outputs.feature_map[number], weight), frame.given)
            for weight in model.head.T  # a column a finding
        )
        score = ImageScore(
            frame.instance_id,
            frame.given.frame,
            outputs.logits[number],
            outputs.embedding[number],
            tuple(regions),
            frame.given.place,
        )
        frame.scored.append(ScoredImage(score, model.package.ref.digest, frame.decode_seconds, run_seconds))


def _region(activation: NDArray[np.float32], one: ModelInput) -> Region | None:
    """Return where the model looks, in pixels of the full-size frame, of which the input may show a part."""
    field = one.field
    found = region(activation, field.bottom - field.top, field.right - field.left)
    if found is None:
        return None
    left, right = max(found.left + field.left, 0.0), min(found.right + field.left, float(one.columns))
    top, bottom = max(found.top + field.top, 0.0), min(found.bottom + field.top, float(one.rows))
    return Region(left, top, right, bottom) if left < right and top < bottom else None
