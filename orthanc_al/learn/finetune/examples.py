"""What a network is fine-tuned on: cached model inputs with the labels of their studies."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orthanc_al.learn.snapshot import Role, Snapshot
from orthanc_al.ledger.learning import LabelledCase
from orthanc_al.observe import logger

_VALIDATION = 0.2
_log = logger("learn")


@dataclass(frozen=True, slots=True)
class Examples:
    """Model inputs, row by row.

    Attributes
    ----------
    inputs
        float16, shape (n, 1, size, size): after preprocessing.
    labels
        float32, shape (n, k): 1 present, 0 absent, NaN not said.
    weights
        float32, shape (n,): how much a row counts.
    validation
        Shape (n,): whether a row only tells when to stop.
    """

    inputs: NDArray[np.float16]
    labels: NDArray[np.float32]
    weights: NDArray[np.float32]
    validation: NDArray[np.bool_]

    def digest(self) -> str:
        """Return the SHA-256 over all of it."""
        whole = hashlib.sha256(self.inputs.tobytes())
        for array in (self.labels, self.weights, self.validation):
            whole.update(array.tobytes())
        return whole.hexdigest()

    def __add__(self, other: "Examples") -> "Examples":
        return Examples(
            np.concatenate((self.inputs, other.inputs)),
            np.concatenate((self.labels, other.labels)),
            np.concatenate((self.weights, other.weights)),
            np.concatenate((self.validation, other.validation)),
        )


def cached_inputs(
    folder: Path, files: Mapping[tuple[str, str, int], str], cases: Sequence[LabelledCase], size: int
) -> dict[tuple[str, str], NDArray[np.float16]]:
    """Return the model input of each case that the training cache has, by (Study Instance UID, finding).

    Parameters
    ----------
    folder
        ``storage.training_cache``.
    files
        Names by (Study Instance UID, instance, frame).
    cases
        Each asks for the image that decided it.
    size
        Of the model's input: one of another size is of another preprocessing, and left out.
    """
    found = {}
    for case in cases:
        name = files.get((case.study_instance_uid, case.instance_id or "", case.frame))
        if name is None:
            continue
        try:
            pixels = np.load(folder / name, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            _log.warning("cached_input_lost", study=case.study_instance_uid, reason=str(error))
            continue
        if pixels.shape == (1, size, size) and np.isfinite(pixels).all():
            found[case.study_instance_uid, case.finding] = pixels.astype(np.float16)
    return found


def examples_of(
    snapshot: Snapshot,
    findings: Sequence[str],
    inputs: Mapping[tuple[str, str], NDArray[np.float16]],
    size: int,
) -> Examples:
    """Return the training cases that have an input, a row for each image; audits are never among them.

    A fifth of the patients, by a hash of their keys, tells when to stop.
    """
    rows: dict[tuple[str, bytes], list[LabelledCase]] = {}
    for finding in findings:
        for case in snapshot.select(finding, Role.TRAIN).rows:
            pixels = inputs.get((case.study_instance_uid, case.finding))
            if pixels is not None:
                image = hashlib.sha256(pixels.tobytes()).digest()
                rows.setdefault((case.study_instance_uid, image), []).append(case)
    count = len(rows)
    labels = np.full((count, len(findings)), np.nan, np.float32)
    pixels = np.empty((count, 1, size, size), np.float16)
    weights, validation = np.ones(count, np.float32), np.zeros(count, np.bool_)
    for number, key in enumerate(sorted(rows)):
        for case in rows[key]:
            labels[number, findings.index(case.finding)] = float(case.present)
            pixels[number] = inputs[case.study_instance_uid, case.finding]
            weights[number] = snapshot.shown_weight if case.ai_shown else 1.0
            validation[number] = validates(case.patient_key)
    return Examples(pixels, labels, weights, validation)


def validates(patient_key: str) -> bool:
    """Whether the images of a patient only tell when to stop."""
    digest = hashlib.sha256(f"fine-tuning|{patient_key}".encode()).digest()
    return int.from_bytes(digest[:4], "big") < _VALIDATION * 2**32
