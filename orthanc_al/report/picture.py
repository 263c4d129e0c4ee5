"""The class activation over the film, as a Secondary Capture (PS3.3 A.8.1): a picture for eyes alone.

It is derived and secondary, refers to its source, and says in burned-in words what it is, so that nobody
takes it for a film. It is ours by its UID: it is never scored, and never in training data.
"""

import warnings
from typing import Final

import cv2
import numpy as np
from highdicom.enum import CoordinateSystemNames, PhotometricInterpretationValues
from highdicom.sc import SCImage
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from orthanc_al.imaging.field import Field
from orthanc_al.report.activation import Looked
from orthanc_al.report.result import Identity, ImageFinding, Result, Sources
from orthanc_al.report.structured_report import common, dated

_LONGEST: Final = 1024
"""Side of the picture, in pixels: it is to be looked at beside the film, not read."""
_STRONGEST: Final = 0.45
"""Opacity of the strongest activation: the film shows through everywhere."""
_WORDS: Final = "not verified, for research"

RGB = NDArray[np.uint8]


def painted(looked: Looked, caption: str) -> RGB:
    """Return the film with the activation over it in colour, shape (h, w, 3), and a caption below.

    Colour and opacity grow with what a cell adds to the logit; what speaks against the finding has none.
    """
    grey = np.clip(looked.grey, 0.0, 1.0)
    scale = min(1.0, _LONGEST / max(grey.shape))
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    film = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    heat = _heat(looked.activation, looked.field, grey.shape[:2], size)
    colours = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1] / 255.0
    opacity = (_STRONGEST * heat)[..., np.newaxis]
    mixed = film[..., np.newaxis] * (1 - opacity) + colours * opacity
    return _captioned((mixed * 255).astype(np.uint8), caption)


def caption_of(image: ImageFinding) -> str:
    """Return the words that are burned in: what was looked for, how likely it is, and what this is."""
    return f"AI: {image.finding.name} {image.probability:.2f}, {_WORDS}"


def secondary_capture(
    result: Result, image: ImageFinding, sources: Sources, identity: Identity, pixels: RGB
) -> Dataset:
    """Return the picture as a Secondary Capture; the same arguments give the same data set.

    Parameters
    ----------
    image
        What the picture is about.
    pixels
        `painted`.
    """
    source = sources.image(image.sop_instance_uid)
    shared = common(result, identity) | {"series_description": f"AI activation, {_WORDS}"}
    with warnings.catch_warnings():  # highdicom and pydicom write names of patients into warnings
        warnings.simplefilter("ignore")
        document = SCImage.from_ref_dataset(
            source,
            pixel_array=pixels,
            photometric_interpretation=PhotometricInterpretationValues.RGB,
            bits_allocated=8,
            coordinate_system=CoordinateSystemNames.PATIENT,
            patient_orientation=("L", "F"),  # highdicom asks for one: taken out again below
            transfer_syntax_uid=ExplicitVRLittleEndian,
            **shared,
        )
    document["PatientOrientation"].value = None  # type 2C (PS3.3 C.7.6.1): the source's is not known to hold
    document.Laterality = ""  # type 2C (PS3.3 C.7.3.1), for the same reason
    document.ImageType = ["DERIVED", "SECONDARY"]
    document.BurnedInAnnotation = "YES"
    document.DateOfSecondaryCapture = document.ContentDate
    document.TimeOfSecondaryCapture = document.ContentTime
    document.DerivationDescription = f"Class activation of {image.finding.name}, over the image"
    document.SourceImageSequence = [_reference(source, image)]
    return dated(document)


def _reference(source: Dataset, image: ImageFinding) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    if int(source.get("NumberOfFrames", 1) or 1) > 1:
        reference.ReferencedFrameNumber = image.frame
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = purpose.value, purpose.scheme_designator
    item.CodeMeaning = purpose.meaning
    reference.PurposeOfReferenceCodeSequence = [item]
    return reference


def _heat(
    activation: NDArray[np.float32], field: Field, shape: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the activation in [0, 1] over the film, shape (size[1], size[0]), 0 beyond the field."""
    strength = np.maximum(activation, 0.0)
    peak = float(strength.max())
    if peak <= 0:
        return np.zeros((size[1], size[0]), np.float32)
    # From the film's pixels to cells: where the centre of a pixel lies in the grid of cells.
    columns = _cells(shape[1], size[0], field.left, field.right, activation.shape[1])
    rows = _cells(shape[0], size[1], field.top, field.bottom, activation.shape[0])
    along, down = np.meshgrid(columns, rows)
    heat = cv2.remap(
        strength / peak, along, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0.0
    )
    return np.asarray(np.clip(heat, 0.0, 1.0), np.float32)


def _cells(full: int, shown: int, begin: float, end: float, cells: int) -> NDArray[np.float32]:
    centres = (np.arange(shown, dtype=np.float32) + 0.5) * full / shown
    return np.asarray((centres - begin) / (end - begin) * cells - 0.5, np.float32)


def _captioned(picture: RGB, caption: str) -> RGB:
    """Return the picture with a line of words below it: on the film they would hide something."""
    width = picture.shape[1]
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, 1
    scale = min(0.8, 0.9 * width / max(1, cv2.getTextSize(caption, font, 1.0, thickness)[0][0]))
    (_, height), below = cv2.getTextSize(caption, font, scale, thickness)
    strip = np.zeros((height + below + 12, width, 3), np.uint8)
    cv2.putText(strip, caption, (8, height + 6), font, scale, (255, 255, 255), thickness, cv2.LINE_AA)
    return np.vstack([picture, strip])
