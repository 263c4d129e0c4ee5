"""What a reduced decode does to the score: ``python -m tests.bench.decode_shift DATA [--films 500]``.

The labelled radiographs are recompressed, decoded in full and reduced, and scored by the shipped package.
Printed are the mean and the largest difference of the calibrated probability, beside how often the sides
were halved. A reduced decode needs something to reduce, and these films were published small: they are
enlarged to the size of a detector, with film grain upon them.
"""

import argparse
import csv
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, HTJ2KLossless, JPEG2000Lossless, JPEGBaseline8Bit
from rich.console import Console
from rich.progress import track
from rich.table import Table

from orthanc_al.domain.preprocessing import Decode, reduction
from orthanc_al.imaging.model_input import inputs_of
from orthanc_al.imaging.reading import MappedImage
from orthanc_al.inference import load_package
from orthanc_al.inference.session import Session
from tests.support.radiographs import wrap
from tests.support.site import PACKAGE

Pixels = NDArray[np.uint8]

ENCODERS: dict[UID, Callable[[NDArray[Any]], bytes]] = {
    JPEG2000Lossless: lambda film: bytes(
        imagecodecs.jpeg2k_encode(film, level=0, codecformat="j2k", reversible=True)
    ),
    HTJ2KLossless: lambda film: bytes(imagecodecs.htj2k_encode(film)),
    JPEGBaseline8Bit: lambda film: bytes(imagecodecs.jpeg8_encode(film, level=95)),
}
SHORTER: Mapping[Decode, int] = {"half": 1280, "quarter": 2560, "auto": 5120}
"""Shorter side of the films for each: the smallest whose sides are halved so often."""
HALVINGS: Mapping[Decode, int] = {"half": 1, "quarter": 2, "auto": 3}
"""How often the sides of such a film are to be halved."""
_GRAIN = 3.0  # standard deviation, of 255 grey values


@dataclass(frozen=True)
class Published:
    """A radiograph as it was published, and what its grain is drawn from."""

    pixels: Pixels
    seed: int

    def enlarged(self, shorter: int) -> Pixels:
        """Return the film with a shorter side of ``shorter`` pixels, and grain."""
        factor = shorter / min(self.pixels.shape)
        rows, columns = (round(side * factor) for side in self.pixels.shape)
        how = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
        large = cv2.resize(self.pixels, (columns, rows), interpolation=how).astype(np.float32)
        large += _GRAIN * np.random.default_rng(self.seed).standard_normal(large.shape, np.float32)
        return np.clip(large, 0, 255).astype(np.uint8)


def films(data: Path, count: int) -> Iterator[Published]:
    """Yield ``count`` films, those of full size first; the order is by checksum."""
    for name in ("kermany_cxr_fullres", "kermany_cxr_224"):
        folder = data / "labelled" / name
        with (folder / "manifest.csv").open(newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: row["md5"])
        for row in rows[:count]:
            pixels = cv2.imread(str(folder / row["path"]), cv2.IMREAD_GRAYSCALE)
            yield Published(pixels, int(row["md5"][:8], 16))
        count -= len(rows[:count])


def recompressed(film: Pixels, syntax: UID) -> FileDataset:
    """Return a film as a DX image in a compressed syntax."""
    dataset = wrap(film, 1)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([ENCODERS[syntax](film)])
    dataset["PixelData"].VR = "OB"
    return dataset


class Shift:
    """Scores recompressed films by the shipped package."""

    def __init__(self) -> None:
        self._package = load_package(PACKAGE)
        self._session = Session(self._package.contents.model, 1)

    def halvings(self, film: Pixels, decode: Decode) -> int:
        """Return how often the sides of a film are halved."""
        return reduction(decode, min(film.shape), self._package.manifest.preprocessing.size)

    def model_input(self, dataset: FileDataset, decode: Decode) -> NDArray[np.float32]:
        """Return what the model sees of a film: float32, ``(1, size, size)``."""
        spec = replace(self._package.manifest.preprocessing, decode=decode)
        image = MappedImage(dataset, "PixelData", "OB", memoryview(dataset.PixelData))
        (one,) = inputs_of(image, spec)
        return one.pixels

    def score(self, dataset: FileDataset, decode: Decode) -> float:
        """Return the calibrated probability of a film."""
        pixels = self.model_input(dataset, decode)
        logit = float(self._session.run(pixels[np.newaxis]).logits[0, 0])
        return float(self._package.manifest.findings[0].calibrator.probability(logit))

    def of(self, published: Published, syntax: UID) -> dict[Decode, float]:
        """Return how far each reduced decode moves a film's probability.

        Raises
        ------
        RuntimeError
            The film's sides are not halved as often as is to be measured.
        """
        moved: dict[Decode, float] = {}
        for shorter in dict.fromkeys(SHORTER.values()):
            film = published.enlarged(shorter)
            dataset = recompressed(film, syntax)
            full = self.score(dataset, "full")
            for decode in (decode for decode in SHORTER if SHORTER[decode] == shorter):
                if self.halvings(film, decode) != HALVINGS[decode]:
                    raise RuntimeError(f"{decode} halves {self.halvings(film, decode)} times")
                moved[decode] = abs(self.score(dataset, decode) - full)
        return moved


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--films", type=int, default=500)
    parser.add_argument("--only", default="", help="a part of the names of the transfer syntaxes")
    options = parser.parse_args()
    shift = Shift()
    found: dict[tuple[str, Decode], list[float]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for syntax in (syntax for syntax in ENCODERS if options.only in syntax.name):
            work = functools.partial(shift.of, syntax=syntax)
            every = pool.map(work, films(options.data, options.films))
            for moved in track(every, syntax.name, options.films):
                for decode, one in moved.items():
                    found.setdefault((syntax.name, decode), []).append(one)
    table = Table(title=f"Shift of the probability, {options.films} films")
    for column in ("syntax", "decode", "shorter side", "halved", "mean", "worst"):
        table.add_column(column)
    for (name, decode), moved_all in found.items():
        size = (f"{SHORTER[decode]:,}", str(HALVINGS[decode]))
        table.add_row(name, decode, *size, f"{np.mean(moved_all):.5f}", f"{max(moved_all):.5f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
