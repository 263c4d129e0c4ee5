"""Real radiographs as valid CR and DX: the public JPEG files, wrapped so that nothing gives the label away.

The order is by checksum, patients are numbered in it, and no path, label or subtype enters a data set.
"""

import csv
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from orthanc_al.domain import derived_uid

Modality = Literal["CR", "DX"]
_SOP_CLASS = {"CR": ComputedRadiographyImageStorage, "DX": DigitalXRayImageStorageForPresentation}
_PIXEL_SPACING = ["0.143", "0.143"]


@dataclass(frozen=True)
class Radiograph:
    """A study of one image, and the truth about it, which the data set does not hold."""

    dataset: FileDataset
    label: int  # 1: pneumonia
    subtype: str

    @property
    def study_instance_uid(self) -> str:
        return str(self.dataset.StudyInstanceUID)

    def save(self, folder: Path) -> Path:
        """Write it as Part 10 under its SOP Instance UID; returns the path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.dataset.SOPInstanceUID}.dcm"
        self.dataset.save_as(path, enforce_file_format=True)
        return path


def radiographs(data: Path, count: int = 48) -> Iterator[Radiograph]:
    """Yield ``count`` studies: CR and DX in turn, each third MONOCHROME1, each fourth 12 bits deep."""
    for number, row in enumerate(_rows(data)[:count]):
        pixels = cv2.imread(str(data / "labelled/kermany_cxr_fullres" / row["path"]), cv2.IMREAD_GRAYSCALE)
        dataset = wrap(
            pixels,
            number,
            modality="CR" if number % 2 else "DX",
            monochrome1=number % 3 == 2,
            bits=12 if number % 4 == 3 else 8,
        )
        yield Radiograph(dataset, int(row["label"]), row["subtype"])


def wrap(
    pixels: NDArray[np.uint8],
    number: int,
    *,
    modality: Modality = "DX",
    monochrome1: bool = False,
    bits: Literal[8, 12] = 8,
    image: int = 1,
) -> FileDataset:
    """Return image ``image`` of study ``number``: ``pixels`` (h, w), bright means dense."""
    dataset = FileDataset(None, {}, preamble=b"\0" * 128, file_meta=_meta(modality, number, image))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = _SOP_CLASS[modality]
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    _patient_and_study(dataset, number)
    _series(dataset, number, modality)
    dataset.InstanceNumber = image
    _image(dataset, pixels, monochrome1=monochrome1, bits=bits)
    if modality == "DX":
        _dx(dataset, monochrome1=monochrome1)
    return dataset


@functools.cache
def _rows(data: Path) -> list[dict[str, str]]:
    with (data / "labelled/kermany_cxr_fullres/manifest.csv").open(newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: row["md5"])


def _meta(modality: Modality, number: int, image: int) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = _SOP_CLASS[modality]
    meta.MediaStorageSOPInstanceUID = derived_uid("test radiograph", str(number), str(image))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta


def _patient_and_study(dataset: Dataset, number: int) -> None:
    dataset.PatientName = f"Test^{number:03d}"
    dataset.PatientID = f"T{number:05d}"
    dataset.PatientBirthDate = "20200101"
    dataset.PatientSex = "F" if number % 2 else "M"
    dataset.StudyInstanceUID = derived_uid("test study", str(number))
    dataset.StudyDate = "20240102"
    dataset.StudyTime = "101500"
    dataset.StudyID = str(number)
    dataset.AccessionNumber = f"A{number:06d}"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Chest AP"


def _series(dataset: Dataset, number: int, modality: Modality) -> None:
    dataset.Modality = modality
    dataset.SeriesInstanceUID = derived_uid("test series", str(number))
    dataset.SeriesNumber = 1
    dataset.SeriesDate = dataset.StudyDate
    dataset.SeriesTime = dataset.StudyTime
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "AP"
    dataset.Manufacturer = "Test Imaging"
    dataset.ManufacturerModelName = "Wrapped JPEG"
    dataset.StationName = f"ROOM{number % 2 + 1}"
    dataset.PatientOrientation = ["L", "F"]


def _image(dataset: Dataset, pixels: NDArray[np.uint8], *, monochrome1: bool, bits: int) -> None:
    stored = pixels.astype(np.uint16 if bits > 8 else np.uint8) << (bits - 8)
    if monochrome1:
        stored = (1 << bits) - 1 - stored
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.AcquisitionDate = dataset.ContentDate = dataset.StudyDate
    dataset.AcquisitionTime = dataset.ContentTime = dataset.StudyTime
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if monochrome1 else "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = 16 if bits > 8 else 8
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    dataset.WindowCenter = str(1 << (bits - 1))
    dataset.WindowWidth = str(1 << bits)
    # The source published its films as JPEG; that loss can't be undone (PS3.3 C.7.6.1.1.5).
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = "10"
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    frame = stored.tobytes()
    dataset.add_new("PixelData", "OW" if bits > 8 else "OB", frame + b"\0" * (len(frame) % 2))


def _dx(dataset: Dataset, *, monochrome1: bool) -> None:
    """Add what the DX IOD asks for beyond CR (PS3.3 A.26)."""
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageLaterality = "U"
    dataset.AnatomicRegionSequence = [_code(codes.SCT.Chest)]
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if monochrome1 else -1
    dataset.RescaleIntercept = "0"
    dataset.RescaleSlope = "1"
    dataset.RescaleType = "US"
    dataset.PresentationLUTShape = "INVERSE" if monochrome1 else "IDENTITY"
    dataset.BurnedInAnnotation = "NO"
    dataset.DetectorType = "SCINTILLATOR"
    dataset.PositionerType = ""
    dataset.ViewCodeSequence = [_code(codes.cid4010.AnteroPosterior)]
    dataset.ViewCodeSequence[0].ViewModifierCodeSequence = []
    dataset.ImagerPixelSpacing = _PIXEL_SPACING
    dataset.AcquisitionContextSequence = []


def _code(code: object) -> Dataset:
    item = Dataset()
    item.CodeValue = code.value  # type: ignore[attr-defined]
    item.CodingSchemeDesignator = code.scheme_designator  # type: ignore[attr-defined]
    item.CodeMeaning = code.meaning  # type: ignore[attr-defined]
    return item
