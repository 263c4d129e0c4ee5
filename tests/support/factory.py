"""A set of made-up films that a factory test trains on in seconds."""

import csv
from pathlib import Path

import cv2
import numpy as np

from orthanc_al.learn.factory.dataset import SUBTYPES, FilmSet

SIDE = 64


def made_up_films(count: int = 96, seed: int = 0) -> FilmSet:
    """Return films of which the positive ones have a bright patch; two films a patient."""
    rng = np.random.default_rng(seed)
    subtypes = np.arange(count) // 2 % 3
    images = np.stack([_film(bool(subtype), rng) for subtype in subtypes])
    labels = (subtypes > 0).astype(np.int64)
    return FilmSet(images, labels, subtypes.astype(np.int64), tuple(f"P{row // 2}" for row in range(count)))


def write_films(films: FilmSet, folder: Path) -> Path:
    """Write the films as the public data set is laid out."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "subtype", "patient", "dup_of"])
        for row, image in enumerate(films.images):
            cv2.imwrite(str(folder / f"{row}.png"), image)
            subtype = SUBTYPES[films.subtypes[row]]
            writer.writerow([f"{row}.png", films.labels[row], subtype, films.patients[row], ""])
    return folder


def _film(positive: bool, rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5
    lungs = (np.abs(np.abs(x) - 0.22) < 0.14 + 0.02 * rng.standard_normal()) & (np.abs(y) < 0.35)
    image = np.where(lungs, 60.0, 170.0) + 20.0 * y
    if positive:
        cx, cy = rng.choice([-0.2, 0.2]), rng.uniform(-0.2, 0.2)
        image += 130.0 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 0.012)
    image = cv2.GaussianBlur(image, (0, 0), 1.5) + 4.0 * rng.standard_normal((SIDE, SIDE))
    return np.clip(image, 0, 255).astype(np.uint8)
