"""The factory's training data: radiographs with a label, and which patient is in which part."""

import csv
import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from orthanc_al.errors import ConfigurationError

SUBTYPES = ("normal", "bacteria", "virus")
"""Order of the classes of :attr:`FilmSet.subtypes`."""


class Part(StrEnum):
    """What a patient's films serve for; a patient is in one part only."""

    TRAIN = "train"
    CALIBRATE = "calibrate"
    JUDGE = "judge"


SHARES = {Part.JUDGE: 0.10, Part.CALIBRATE: 0.08}
"""Share of the patients that is held back for each part; the rest trains."""


@dataclass(frozen=True, slots=True)
class FilmSet:
    """Films, row by row.

    Attributes
    ----------
    images
        uint8, shape (n, h, w); bright means dense.
    labels
        int64, shape (n,): 1 = pneumonia.
    subtypes
        int64, shape (n,): index into :data:`SUBTYPES`.
    patients
        n patient identifiers of the source.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    subtypes: NDArray[np.int64]
    patients: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, chosen: NDArray[np.bool_]) -> "FilmSet":
        """Return the films where ``chosen`` (shape (n,)) is True."""
        patients = tuple(p for p, keep in zip(self.patients, chosen, strict=True) if keep)
        return FilmSet(self.images[chosen], self.labels[chosen], self.subtypes[chosen], patients)

    def part(self, part: Part, seed: int) -> "FilmSet":
        """Return the films of the patients of one part."""
        return self.rows(np.array([part_of(p, seed) is part for p in self.patients], np.bool_))

    def digest(self) -> str:
        """Return the SHA-256 over pixels, labels and patients, in row order."""
        whole = hashlib.sha256(self.images.tobytes())
        whole.update(self.labels.tobytes())
        whole.update("\n".join(self.patients).encode())
        return whole.hexdigest()


def part_of(patient: str, seed: int) -> Part:
    """Return the part that a patient is in: a hash, so that nobody has to keep the list.

    Parameters
    ----------
    patient
        Identifier in the source's manifest.
    seed
        Another seed is another split.
    """
    digest = hashlib.sha256(f"{seed}:{patient}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    for part, share in SHARES.items():
        if place < share:
            return part
        place -= share
    return Part.TRAIN


def load_films(folder: Path) -> FilmSet:
    """Return the films of ``folder/manifest.csv``, exact duplicates dropped.

    Parameters
    ----------
    folder
        Has ``manifest.csv`` with the columns path, label, subtype, patient and dup_of, and the
        images at ``path``, all of one size.

    Raises
    ------
    ConfigurationError
        The folder has no manifest, or an image of it is missing or of another size.
    """
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        raise ConfigurationError(
            f"{manifest} is missing: give the folder of the labelled radiographs (--data)"
        )
    with manifest.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if not row["dup_of"]]
    images = [_grey(folder / row["path"]) for row in rows]
    if len({image.shape for image in images}) != 1:
        raise ConfigurationError(f"the images that {manifest} names are not all of one size")
    return FilmSet(
        np.stack(images),
        np.array([int(row["label"]) for row in rows], np.int64),
        np.array([SUBTYPES.index(row["subtype"]) for row in rows], np.int64),
        tuple(row["patient"] for row in rows),
    )


def _grey(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise ConfigurationError(f"{path} is missing or is no image")
    return np.asarray(image, np.uint8)
