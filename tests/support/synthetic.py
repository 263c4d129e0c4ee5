"""Images made of noise, of the sizes that benchmarks and bad-input tests need."""

from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)


def ct_study(rng: np.random.Generator, count: int) -> Iterator[Dataset]:
    """Yield the slices of a CT study with fresh UIDs: 512 x 512 x 16 bit (0.5 MB) each."""
    study, series = generate_uid(), generate_uid()
    for number in range(1, count + 1):
        yield _image(rng, "CT", CTImageStorage, (512, 512, 16), study, series, number)


def film(rng: np.random.Generator, rows: int = 3000, columns: int = 2500, bits: int = 16) -> Dataset:
    """Return a radiograph with fresh UIDs, a study of its own; 15 MB unless a size is given."""
    shape = (rows, columns, bits)
    return _image(rng, "DX", DigitalXRayImageStorageForPresentation, shape, generate_uid(), generate_uid(), 1)


def _image(
    rng: np.random.Generator,
    modality: str,
    sop_class: str,
    shape: tuple[int, int, int],
    study: str,
    series: str,
    number: int,
) -> Dataset:
    rows, columns, bits = shape
    stored = 12 if bits == 16 else 8
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = sop_class
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.StudyDate, image.StudyTime = "20240102", "101500"
    image.AccessionNumber = study[-12:]
    image.Modality = modality
    image.PatientName, image.PatientID = "Bench^Noise", study[-16:]
    image.PatientBirthDate, image.PatientSex = "", ""
    image.StudyInstanceUID, image.SeriesInstanceUID = study, series
    image.StudyID, image.SeriesNumber, image.InstanceNumber = "1", 1, number
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = rows, columns
    image.BitsAllocated, image.BitsStored, image.HighBit = bits, stored, stored - 1
    image.PixelRepresentation = 0
    image.RescaleIntercept, image.RescaleSlope = "0", "1"
    image.WindowCenter, image.WindowWidth = str(1 << (stored - 1)), str(1 << stored)
    kind = np.uint16 if bits == 16 else np.uint8
    noise = rng.integers(0, 1 << stored, rows * columns, dtype=kind).tobytes()
    image.add_new("PixelData", "OW" if bits == 16 else "OB", noise + b"\0" * (len(noise) % 2))
    return image
