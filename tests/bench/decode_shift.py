"""What a reduced decode does to the score: ``python -m tests.bench.decode_shift DATA [--films 500]``.

The labelled radiographs are recompressed, decoded in full and reduced, and scored by the shipped package.
Printed are the mean and the largest difference of the calibrated probability. The 48 that are there in
full size are taken as they are; the others, which are published at 224 pixels, are enlarged to 1,344
with film grain upon them, since a reduced decode needs something to reduce.
"""

import argparse
import csv
from collections.abc import Callable, Iterator
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

from orthanc_al.domain.preprocessing import Decode, PreprocessingSpec
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
SIZES: tuple[Decode, ...] = ("half", "quarter", "auto")
_ENLARGED = 1344


def films(data: Path, count: int) -> Iterator[Pixels]:
    """Yield ``count`` films, those of full size first; the order is by checksum."""
    for name in ("kermany_cxr_fullres", "kermany_cxr_224"):
        folder = data / "labelled" / name
        with (folder / "manifest.csv").open(newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: row["md5"])
        for row in rows[:count]:
            film = cv2.imread(str(folder / row["path"]), cv2.IMREAD_GRAYSCALE)
            yield film if name == "kermany_cxr_fullres" else _enlarged(film, int(row["md5"][:8], 16))
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
        self._session = Session(self._package.contents.model)

    def score(self, dataset: FileDataset, decode: Decode) -> float:
        """Return the calibrated probability of a film."""
        standard = self._package.manifest.preprocessing
        spec = PreprocessingSpec(
            standard.name,
            standard.version,
            standard.size,
            standard.low_percentile,
            standard.high_percentile,
            decode,
        )
        image = MappedImage(dataset, "PixelData", "OB", memoryview(dataset.PixelData))
        (one,) = inputs_of(image, spec)
        logit = float(self._session.run(one.pixels[np.newaxis]).logits[0, 0])
        return float(self._package.manifest.findings[0].calibrator.probability(logit))

    def of(self, film: Pixels, syntax: UID) -> dict[Decode, float]:
        """Return how far each reduced decode moves a film's probability."""
        dataset = recompressed(film, syntax)
        full = self.score(dataset, "full")
        return {decode: abs(self.score(dataset, decode) - full) for decode in SIZES}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--films", type=int, default=500)
    options = parser.parse_args()
    shift = Shift()
    found: dict[tuple[str, Decode], list[float]] = {}
    for film in track(list(films(options.data, options.films))):
        for syntax in ENCODERS:
            for decode, moved in shift.of(film, syntax).items():
                found.setdefault((syntax.name, decode), []).append(moved)
    table = Table(title=f"Shift of the probability, {options.films} films")
    for column in ("syntax", "decode", "mean", "worst"):
        table.add_column(column)
    for (syntax_name, decode), moved_all in found.items():
        table.add_row(syntax_name, decode, f"{np.mean(moved_all):.5f}", f"{max(moved_all):.5f}")
    Console(width=120).print(table)


def _enlarged(film: Pixels, seed: int) -> Pixels:
    large = cv2.resize(film, (_ENLARGED, _ENLARGED), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    grain = np.random.default_rng(seed).normal(0.0, 3.0, large.shape)
    return np.clip(large + grain, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
