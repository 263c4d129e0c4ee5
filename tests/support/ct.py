"""Slices of a CT as a scanner sends them, and a small package that looks at them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset

from orthanc_al.domain import derived_uid
from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.inference.package import ModelPackage
from tests.support.radiographs import wrap
from tests.support.tiny_package import tiny_package

CT = "1.2.840.10008.5.1.4.1.1.2"
WINDOWS = ((40.0, 400.0), (-600.0, 1500.0), (80.0, 80.0))


def ct_slices(number: int, count: int, size: int = 64, thickness: float = 2.5) -> Iterator[FileDataset]:
    """Yield the slices of study ``number`` from below: 12 bits, Hounsfield units by the rescale."""
    random = np.random.default_rng(number)
    for index in range(count):
        pixels = random.integers(0, 256, (size, size)).astype(np.uint8)
        dataset = wrap(pixels, number, bits=12, image=index + 1)
        dataset.Modality, dataset.SOPClassUID = "CT", CT
        dataset.file_meta.MediaStorageSOPClassUID = CT
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = "1", "-1024", "HU"
        dataset.WindowCenter, dataset.WindowWidth = "40", "400"
        dataset.PixelSpacing = ["0.7", "0.7"]
        place(dataset, index * thickness)
        yield dataset


def place(dataset: Dataset, z: float) -> None:
    """Put an axial slice at a height, in mm."""
    dataset.ImagePositionPatient = ["0", "0", f"{z:g}"]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]


def renamed(dataset: FileDataset, name: str) -> FileDataset:
    """Give an object another SOP Instance UID."""
    dataset.SOPInstanceUID = derived_uid("test slice", name)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def ct_package(folder: Path, **keys: object) -> ModelPackage:
    """Write a package of slices: three windows, the mean of the five highest."""
    given: dict[str, object] = {
        "name": "ct",
        "aggregation": "top-k-mean",
        "top_k": 5,
        "series": {"placed": True},
    }
    spec = PreprocessingSpec("windowed-square", size=32, windows=WINDOWS)
    return tiny_package(folder, preprocessing=spec, **{**given, **keys})  # type: ignore[arg-type]
