"""Images made of noise, of the sizes that benchmarks and bad-input tests need."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)


def ct_slice(rng: np.random.Generator, number: int) -> Dataset:
    """Return a CT image of 512 x 512 x 16 bit (0.5 MB) with fresh UIDs, all of one study a generator."""
    return _image(rng, number, "CT", CTImageStorage, 512, 512)


def film(rng: np.random.Generator, number: int) -> Dataset:
    """Return a radiograph of 3000 x 2500 x 16 bit (15 MB) with fresh UIDs, a study each."""
    return _image(rng, number, "DX", DigitalXRayImageStorageForPresentation, 3000, 2500)


def _image(
    rng: np.random.Generator, number: int, modality: str, sop_class: str, rows: int, columns: int
) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = sop_class
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.StudyDate, image.StudyTime = "20240102", "101500"
    image.AccessionNumber = f"B{number:05d}"
    image.Modality = modality
    image.PatientName, image.PatientID = f"Bench^{number}", f"B{number}"
    image.PatientBirthDate, image.PatientSex = "", ""
    image.StudyInstanceUID = generate_uid(
        entropy_srcs=[str(id(rng)), modality, str(number if modality == "DX" else 0)]
    )
    image.SeriesInstanceUID = generate_uid()
    image.StudyID, image.SeriesNumber, image.InstanceNumber = "1", 1, number + 1
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = rows, columns
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.RescaleIntercept, image.RescaleSlope = "0", "1"
    image.WindowCenter, image.WindowWidth = "2048", "4096"
    image.PixelData = rng.integers(0, 4096, rows * columns, dtype=np.uint16).tobytes()
    return image
