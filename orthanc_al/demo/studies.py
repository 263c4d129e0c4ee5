"""The demo's studies: synthetic films as CR and DX, each of a child who does not exist.

The films come from ``orthanc-al train-factory``, which samples them from a model of shape and appearance;
two of the 42 are no chest films. Nothing in a data set tells what is on its film.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)

from orthanc_al.domain.identity import derived_uid

FILMS: Final = "films.npz"

_SOP_CLASS: Final = {
    "CR": ComputedRadiographyImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
}
_SPACING: Final = ["0.9", "0.9"]
_MINUTES_APART: Final = 4


def demo_films() -> NDArray[np.uint8]:
    """Return the films, uint8, shape (42, 240, 288); bright means dense."""
    with resources.files("orthanc_al.demo").joinpath(FILMS).open("rb") as file, np.load(file) as archive:
        return np.asarray(archive["films"], np.uint8)


def demo_datasets(at: float, seed: int = 0) -> Iterator[FileDataset]:
    """Yield one study of one image for each film, in the order of their study times.

    Parameters
    ----------
    at
        When the last one was made, in seconds since 1970; the others came some minutes apart before it.
        Other times give other UIDs, so that a demo can be run again beside an earlier one.
    seed
        Order of the films, and the patients' ages.

    Yields
    ------
    FileDataset
        A CR Image (PS3.3 A.2) or Digital X-Ray Image for presentation (PS3.3 A.26), Explicit VR Little
        Endian: some MONOCHROME1, some 12 bits deep, all complete.
    """
    rng = np.random.default_rng(seed)
    films = demo_films()[rng.permutation(len(demo_films()))]
    last = datetime.fromtimestamp(at, UTC)
    for number, film in enumerate(films, start=1):
        made = last - timedelta(minutes=_MINUTES_APART * (len(films) - number))
        yield _study(film, number, made, f"{seed} {last.isoformat()}", int(rng.integers(365, 6 * 365)))


def _study(film: NDArray[np.uint8], number: int, made: datetime, run: str, age_days: int) -> FileDataset:
    modality = "DX" if number % 3 else "CR"
    dataset = FileDataset("", {}, preamble=b"\0" * 128, file_meta=_meta(modality, number, run))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    _patient(dataset, number, made, age_days)
    _study_and_series(dataset, number, made, run, modality)
    monochrome1 = number % 4 == 1
    _image(dataset, film, monochrome1=monochrome1, bits=12 if number % 5 < 2 else 8)
    if modality == "DX":
        _dx(dataset, monochrome1=monochrome1)
    return dataset


def _meta(modality: str, number: int, run: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = _SOP_CLASS[modality]
    meta.MediaStorageSOPInstanceUID = UID(derived_uid("demo image", run, str(number)))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta


def _patient(dataset: Dataset, number: int, made: datetime, age_days: int) -> None:
    dataset.PatientName = f"Demo^{number:02d}"
    dataset.PatientID = f"DEMO{number:04d}"
    dataset.PatientBirthDate = (made - timedelta(days=age_days)).strftime("%Y%m%d")
    dataset.PatientSex = "F" if age_days % 2 else "M"
    dataset.PatientAge = f"{age_days // 365:03d}Y"


def _study_and_series(dataset: Dataset, number: int, made: datetime, run: str, modality: str) -> None:
    dataset.StudyInstanceUID = derived_uid("demo study", run, str(number))
    dataset.SeriesInstanceUID = derived_uid("demo series", run, str(number))
    for kind in ("Study", "Series", "Acquisition", "Content"):
        setattr(dataset, f"{kind}Date", made.strftime("%Y%m%d"))
        setattr(dataset, f"{kind}Time", made.strftime("%H%M%S"))
    dataset.StudyID = str(number)
    dataset.AccessionNumber = f"DEMO{made:%m%d}{number:04d}"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Chest AP"
    dataset.Modality = modality
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "AP"
    dataset.PatientOrientation = ["L", "F"]
    dataset.Manufacturer = "Synthetic"  # not ours: what carries our name is never taken in as new
    dataset.ManufacturerModelName = "Demo film generator"
    dataset.StationName = f"DEMO{number % 2 + 1}"
    dataset.ImageComments = "Synthetic film: it shows no person"


def _image(dataset: Dataset, film: NDArray[np.uint8], *, monochrome1: bool, bits: int) -> None:
    """Add Image Pixel and VOI LUT attributes (PS3.3 C.7.6.3, C.11.2)."""
    stored = film.astype("<u2" if bits > 8 else "u1") << (bits - 8)
    if monochrome1:
        stored = (1 << bits) - 1 - stored
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if monochrome1 else "MONOCHROME2"
    dataset.Rows, dataset.Columns = film.shape
    dataset.BitsAllocated = 16 if bits > 8 else 8
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    dataset.WindowCenter = str(1 << (bits - 1))
    dataset.WindowWidth = str(1 << bits)
    dataset.LossyImageCompression = "00"
    dataset.add_new("PixelData", "OW" if bits > 8 else "OB", stored.tobytes())


def _dx(dataset: Dataset, *, monochrome1: bool) -> None:
    """Add what the DX IOD asks for beyond CR (PS3.3 A.26)."""
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageLaterality = "U"
    dataset.AnatomicRegionSequence = [_item(codes.SCT.Chest)]
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if monochrome1 else -1
    dataset.RescaleIntercept = "0"
    dataset.RescaleSlope = "1"
    dataset.RescaleType = "US"
    dataset.PresentationLUTShape = "INVERSE" if monochrome1 else "IDENTITY"
    dataset.BurnedInAnnotation = "NO"
    dataset.DetectorType = "SCINTILLATOR"
    dataset.PositionerType = ""
    dataset.ImagerPixelSpacing = _SPACING
    dataset.AcquisitionContextSequence = []
    view = _item(codes.cid4010.AnteroPosterior)
    view.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [view]


def _item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item
