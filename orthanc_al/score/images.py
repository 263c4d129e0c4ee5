"""From the file of an instance to its scores by one model."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orthanc_al.domain import ImageScore, Region
from orthanc_al.imaging.model_input import ModelInput, inputs_of
from orthanc_al.imaging.reading import MappedImage, map_image
from orthanc_al.inference.region import class_activation, region
from orthanc_al.inference.running import RunningModel
from orthanc_al.ledger.predictions import ScoredImage

_BATCH: Final = 8
"""Frames a run: more gain nothing on a CPU, and hold more memory."""


def score_images(path: Path, instance_id: str, model: RunningModel) -> list[ScoredImage]:
    """Return the scores of the frames of a Part 10 file; see `score_mapped`."""
    return score_mapped(map_image(path), instance_id, model)


def score_mapped(image: MappedImage, instance_id: str, model: RunningModel) -> list[ScoredImage]:
    """Return the scores of an image's frames, of all or of as many as the package wants.

    Raises
    ------
    UndecodableError
        No grey pixels can be had.
    ModelError
        The model gives no finite number.
    """
    manifest = model.package.manifest
    inputs = inputs_of(image, manifest.preprocessing, frames=manifest.frames)
    scored: list[ScoredImage] = []
    while True:
        started = time.perf_counter()
        batch = list(islice(inputs, _BATCH))
        if not batch:
            return scored
        scored.extend(_run(batch, instance_id, model, (time.perf_counter() - started) / len(batch)))


def _run(
    batch: list[ModelInput], instance_id: str, model: RunningModel, decode_seconds: float
) -> Iterator[ScoredImage]:
    started = time.perf_counter()
    outputs = model.session.run(np.stack([one.pixels for one in batch]))
    run_seconds = (time.perf_counter() - started) / len(batch)
    for number, one in enumerate(batch):
        regions = (
            _region(class_activation(outputs.feature_map[number], weight), one)
            for weight in model.head.T  # a column a finding
        )
        score = ImageScore(
            instance_id,
            one.frame,
            outputs.logits[number],
            outputs.embedding[number],
            tuple(regions),
            one.place,
        )
        yield ScoredImage(score, model.package.ref.digest, decode_seconds, run_seconds)


def _region(activation: NDArray[np.float32], one: ModelInput) -> Region | None:
    """Return where the model looks, in pixels of the full-size frame, of which the input may show a part."""
    field = one.field
    found = region(activation, field.bottom - field.top, field.right - field.left)
    if found is None:
        return None
    left, right = max(found.left + field.left, 0.0), min(found.right + field.left, float(one.columns))
    top, bottom = max(found.top + field.top, 0.0), min(found.bottom + field.top, float(one.rows))
    return Region(left, top, right, bottom) if left < right and top < bottom else None
