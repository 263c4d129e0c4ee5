"""A transcoded copy has every value of the original, or is not made."""

import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, RLELossless

from orthanc_al.dicom import part10, transcode
from orthanc_al.errors import UndecodableError
from tests.support.wire import BIG_ENDIAN, EXPLICIT, IMPLICIT, JPEG

DEFLATED = "1.2.840.10008.1.2.1.99"
PIXELS = np.arange(6, dtype=np.uint16).reshape(2, 3) * 300


def _image(*, words: bytes = PIXELS.tobytes()) -> Dataset:
    image = Dataset()
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    image.SOPInstanceUID = "1.2.3"
    image.PatientName = "Test^One"
    image.Rows, image.Columns, image.SamplesPerPixel = 2, 3, 1
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 0
    image.PhotometricInterpretation = "MONOCHROME2"
    image.SmallestImagePixelValue = 0
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.4"
    image.SourceImageSequence = Sequence([item])
    image.add_new(0x7FE00010, "OW", words)
    return image


def _encoded(image: Dataset, syntax: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = UID(syntax).is_implicit_VR
    buffer.is_little_endian = UID(syntax).is_little_endian
    write_dataset(buffer, image)
    return bytes(buffer.getvalue())


def _deflated(image: Dataset) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(_encoded(image, EXPLICIT)) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)


def _read(data: bytes, syntax: str) -> Dataset:
    return dcmread(BytesIO(part10.head("1.2", "1.2", syntax) + data))


@pytest.mark.parametrize("target", transcode.UNCOMPRESSED)
@pytest.mark.parametrize(
    ("source", "make"),
    [
        (IMPLICIT, lambda: _encoded(_image(), IMPLICIT)),
        (EXPLICIT, lambda: _encoded(_image(), EXPLICIT)),
        (BIG_ENDIAN, lambda: _encoded(_image(words=PIXELS.astype(">u2").tobytes()), BIG_ENDIAN)),
        (DEFLATED, lambda: _deflated(_image())),
    ],
)
def test_the_copy_has_the_same_values_and_the_same_pixels(
    source: str, make: Callable[[], bytes], target: str
) -> None:
    copy = _read(transcode.transcode(make(), source, target), target)
    assert (copy.pixel_array == PIXELS).all()
    assert copy.SOPInstanceUID == "1.2.3"
    assert copy.PatientName == "Test^One"
    assert copy.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.4"
    assert copy.SmallestImagePixelValue == 0


@pytest.mark.parametrize("target", transcode.UNCOMPRESSED)
def test_compressed_pixels_are_decompressed_under_the_same_uid(target: str) -> None:
    image = _image()
    image.file_meta = dcmread(BytesIO(part10.head("1.2", "1.2", EXPLICIT))).file_meta
    image.set_original_encoding(False, True)
    image.compress(RLELossless, generate_instance_uid=False)
    copy = _read(transcode.transcode(_encoded(image, EXPLICIT), RLELossless, target), target)
    assert (copy.pixel_array == PIXELS).all()
    assert copy.SOPInstanceUID == "1.2.3"


def test_what_is_broken_is_not_transcoded() -> None:
    with pytest.raises(UndecodableError, match="JPEG Baseline"):
        transcode.transcode(b"no data set", JPEG, EXPLICIT)


def test_words_of_unknown_order_are_not_guessed_at() -> None:
    image = _image()
    image.add_new(0x00091001, "UN", b"\1\2")
    with pytest.raises(UndecodableError, match="byte order"):
        transcode.transcode(_encoded(image, BIG_ENDIAN), BIG_ENDIAN, EXPLICIT)


def test_a_copy_that_would_differ_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcode, "_write", lambda *_: _encoded(_image(words=b"\0" * 12), EXPLICIT))
    with pytest.raises(UndecodableError, match="would change it"):
        transcode.transcode(_encoded(_image(), EXPLICIT), EXPLICIT, EXPLICIT)


def test_a_sequence_that_would_differ_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    other = _image()
    other.SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.5"
    monkeypatch.setattr(transcode, "_write", lambda *_: _encoded(other, EXPLICIT))
    with pytest.raises(UndecodableError, match="would change it"):
        transcode.transcode(_encoded(_image(), EXPLICIT), EXPLICIT, EXPLICIT)


def test_the_head_is_one_that_others_read(tmp_path: Path) -> None:
    path = tmp_path / "one.dcm"
    path.write_bytes(
        part10.head("1.2.840.10008.5.1.4.1.1.7", "1.2.3", EXPLICIT) + _encoded(_image(), EXPLICIT)
    )
    assert dcmread(path).file_meta.MediaStorageSOPInstanceUID == "1.2.3"
