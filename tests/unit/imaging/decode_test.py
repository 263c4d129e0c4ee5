"""Decoding: bounds before bytes, and all syntaxes the same picture."""

import struct
import tracemalloc
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.errors import NotAnInstanceError, SpoolFileError, UndecodableError
from orthanc_al.imaging import reading
from orthanc_al.imaging.codecs import SYNTAXES, is_available
from orthanc_al.imaging.codestream import declared_size
from orthanc_al.imaging.decode import Limits, grey_images
from orthanc_al.imaging.model_input import model_inputs
from tests.support.radiographs import wrap

ENCODERS = {
    JPEGLosslessSV1: imagecodecs.ljpeg_encode,
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEG2000Lossless: lambda pixels: imagecodecs.jpeg2k_encode(
        pixels, level=0, codecformat="j2k", reversible=True
    ),
    HTJ2KLossless: imagecodecs.htj2k_encode,
}


def _save(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def _compressed(dataset: Dataset, syntax: UID, *codestreams: bytes) -> Dataset:
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(list(codestreams))
    dataset["PixelData"].VR = "OB"
    return dataset


def _only(path: Path):
    (image,) = grey_images(path)
    return image


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("syntax", ENCODERS, ids=lambda uid: uid.name)
def test_every_lossless_syntax_gives_the_same_picture(grey, tmp_path: Path, syntax: UID, bits):
    plain = wrap(grey, 1, bits=bits)
    wanted = _only(_save(plain, tmp_path / "plain.dcm"))
    stored = grey.astype(np.uint16) << 4 if bits == 12 else grey
    packed = _compressed(wrap(grey, 1, bits=bits), syntax, ENCODERS[syntax](stored))
    assert np.array_equal(_only(_save(packed, tmp_path / "packed.dcm")).pixels, wanted.pixels)


def test_rle_and_deflated_give_the_same_picture(grey, tmp_path: Path):
    wanted = _only(_save(wrap(grey, 1), tmp_path / "plain.dcm"))
    rle = wrap(grey, 1)
    rle.compress(RLELossless)
    assert np.array_equal(_only(_save(rle, tmp_path / "rle.dcm")).pixels, wanted.pixels)
    deflated = wrap(grey, 1)
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = _save(deflated, tmp_path / "deflated.dcm")
    assert np.array_equal(_only(path).pixels, wanted.pixels)
    assert "PixelData" not in reading.read_header(path)


def test_negative_stored_values_keep_their_sign_in_a_codestream_that_says_unsigned(grey, tmp_path: Path):
    signed = grey.astype(np.int16) - 100
    pixels = []
    for packed in (False, True):
        dataset = wrap(grey, 1, bits=12)
        dataset.PixelRepresentation = 1
        del dataset.WindowCenter, dataset.WindowWidth
        dataset.PixelData = signed.tobytes()
        if packed:
            bits = (signed & 0xFFF).astype(np.uint16)
            dataset = _compressed(dataset, JPEGLSLossless, imagecodecs.jpegls_encode(bits))
        pixels.append(_only(_save(dataset, tmp_path / f"{packed}.dcm")).pixels)
    assert np.array_equal(*pixels)


def test_monochrome1_is_inverted_so_that_bright_is_dense(grey, tmp_path: Path):
    one = _only(_save(wrap(grey, 1), tmp_path / "2.dcm"))
    other = _only(_save(wrap(grey, 1, monochrome1=True), tmp_path / "1.dcm"))
    assert np.allclose(one.pixels, other.pixels, atol=1e-2)


def test_padding_is_told_apart(grey, tmp_path: Path):
    padded = grey.copy()
    padded[:10] = 255
    dataset = wrap(padded, 1)
    dataset.PixelPaddingValue = 255
    image = _only(_save(dataset, tmp_path / "padded.dcm"))
    assert image.padding[:10].all()
    assert not image.padding[10:].any()
    dataset.PixelPaddingValue, dataset.PixelPaddingRangeLimit = 255, 0
    assert _only(_save(dataset, tmp_path / "all.dcm")).padding.all()
    dataset.PixelPaddingValue = dataset.PixelPaddingRangeLimit = 254
    assert _only(_save(dataset, tmp_path / "none.dcm")).padding is None


def test_each_frame_of_a_multi_frame_image_is_an_image(grey, tmp_path: Path):
    dataset = wrap(grey, 1)
    dataset.NumberOfFrames = 3
    dataset.PixelData = grey.tobytes() * 3
    path = _save(dataset, tmp_path / "frames.dcm")
    assert [image.frame for image in grey_images(path)] == [1, 2, 3]
    (first, *_) = model_inputs(path, PreprocessingSpec(size=16))
    assert (first.frame, first.rows, first.columns, first.pixels.shape) == (1, 96, 80, (1, 16, 16))


def _frames(dataset: Dataset, count: int) -> None:
    dataset.NumberOfFrames = count


def _size(dataset: Dataset, side: int) -> None:
    dataset.Rows = dataset.Columns = side


def _bomb(dataset: Dataset) -> None:
    _compressed(dataset, JPEG2000Lossless, b"\xff\x4f\xff\x51" + b"\0" * 60)
    _size(dataset, 16000)


# What is done to a film, and what the reason must say.
BROKEN = {
    "no pixel data": (lambda film: film.pop("PixelData"), "there is no pixel data"),
    "colour": (
        lambda film: setattr(film, "PhotometricInterpretation", "PALETTE COLOR"),
        "colour image (PALETTE COLOR)",
    ),
    "no rows": (lambda film: setattr(film, "Rows", 0), "the header declares 1 frame(s) of 80 x 0 pixels"),
    "frames that are not there": (lambda film: _frames(film, 1000), "7680 are there"),
    "too many frames": (lambda film: _frames(film, 100_000), "are the most that is decoded"),
    "8.6 GB in 1 kB": (lambda film: _size(film, 65535), "are the most that is decoded"),
    "rows that are no number": (
        lambda film: film.add_new("Rows", "LO", "many"),
        "can't be read (ValueError)",
    ),
    "syntax that nobody knows": (
        lambda film: setattr(film.file_meta, "TransferSyntaxUID", UID("1.2.3.4")),
        "no decoder for the transfer syntax 1.2.3.4",
    ),
    "syntax that is somebody's name": (
        lambda film: setattr(film.file_meta, "TransferSyntaxUID", UID("1.2 Test^001")),
        "no decoder for the transfer syntax (not a UID)",
    ),
    "compressed bomb": (_bomb, "can't be a frame of 256000000 bytes"),
    "codestream of another size": (
        lambda film: _compressed(
            film, JPEGLSLossless, imagecodecs.jpegls_encode(np.zeros((300, 300), np.uint8))
        ),
        "the codestream is 300 x 300 pixels, the header says 80 x 96",
    ),
    "broken codestream": (
        lambda film: _compressed(film, JPEG2000Lossless, b"no codestream" * 20),
        "the frame is no JPEG, JPEG-LS or JPEG 2000 codestream",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_can_t_be_decoded_says_why_and_allocates_nothing_for_it(grey, tmp_path: Path, name):
    breaks, words = BROKEN[name]
    dataset = wrap(grey, 1)
    breaks(dataset)
    path = tmp_path / "broken.dcm"
    dataset.save_as(path, implicit_vr=False, little_endian=True, overwrite=True)
    tracemalloc.start()
    with pytest.raises(UndecodableError) as caught:
        list(grey_images(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert words in str(caught.value)
    assert peak < 30 << 20
    assert "Test^" not in str(caught.value)


def test_one_bit_pixels_decode(tmp_path: Path):
    bits = np.random.default_rng(0).integers(0, 2, (8, 16)).astype(np.uint8)
    dataset = wrap(bits, 1)
    del dataset.WindowCenter, dataset.WindowWidth
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = 0
    dataset.PixelData = np.packbits(bits, bitorder="little").tobytes()
    assert np.array_equal(_only(_save(dataset, tmp_path / "bits.dcm")).pixels, bits)


def test_float_pixels_decode_and_those_that_are_no_numbers_do_not(grey, tmp_path: Path):
    dataset = wrap(grey, 1)
    del dataset.PixelData, dataset.WindowCenter, dataset.WindowWidth
    dataset.BitsAllocated = 32
    pixels = grey.astype(np.float32)
    dataset.FloatPixelData = pixels.tobytes()
    assert np.allclose(_only(_save(dataset, tmp_path / "float.dcm")).pixels, pixels / grey.max(), atol=1e-2)
    pixels[3, 3] = np.nan
    dataset.FloatPixelData = pixels.tobytes()
    with pytest.raises(UndecodableError, match="not finite"):
        list(grey_images(_save(dataset, tmp_path / "nan.dcm")))


def test_a_rescale_that_leaves_the_range_of_numbers_is_told_and_never_reaches_the_model(grey, tmp_path: Path):
    dataset = wrap(grey, 1)
    dataset.RescaleSlope, dataset.RescaleIntercept = "1e38", "-1e38"
    with pytest.raises(UndecodableError, match="not finite"):
        list(grey_images(_save(dataset, tmp_path / "slope.dcm")))


def test_limits_are_the_caller_s(grey, tmp_path: Path):
    path = _save(wrap(grey, 1), tmp_path / "film.dcm")
    with pytest.raises(UndecodableError, match="are the most that is decoded"):
        list(grey_images(path, Limits(frame_bytes=100)))


@pytest.mark.parametrize("read", [reading.read_header, reading.map_image])
def test_a_file_that_is_gone_is_the_spool_s_error(tmp_path: Path, read):
    with pytest.raises(SpoolFileError):
        read(tmp_path / "gone.dcm")


def _head(path: Path) -> bytes:
    """Return what comes before the data set."""
    return path.read_bytes()[: 144 + int(read_file_meta_info(path).FileMetaInformationGroupLength)]


@pytest.mark.parametrize(
    ("read", "kind"), [(reading.map_image, UndecodableError), (reading.read_header, NotAnInstanceError)]
)
def test_a_deflated_bomb_is_refused(grey, tmp_path: Path, monkeypatch, read, kind):
    monkeypatch.setattr(reading, "MAX_DATA_SET", 1 << 16)
    dataset = wrap(grey, 1)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = _save(dataset, tmp_path / "bomb.dcm")
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    path.write_bytes(_head(path) + packer.compress(bytes(1 << 24)) + packer.flush())
    with pytest.raises(kind, match="larger than"):
        read(path)


def test_a_file_larger_than_may_be_held_in_memory_is_refused(grey, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_DATA_SET", 100)
    with pytest.raises(UndecodableError, match="larger than"):
        reading.map_image(_save(wrap(grey, 1), tmp_path / "film.dcm"))


def test_deep_nesting_is_a_reason_and_no_crash(grey, tmp_path: Path):
    path = _save(wrap(grey, 1), tmp_path / "deep.dcm")
    sequence = struct.pack("<HH2sHL", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    path.write_bytes(_head(path) + (sequence + item) * 5000)
    with pytest.raises(NotAnInstanceError, match="can't be parsed"):
        reading.read_header(path)


@pytest.mark.parametrize(
    ("codestream", "size"),
    [
        (imagecodecs.jpeg8_encode(np.zeros((7, 9), np.uint8)), (7, 9)),
        (imagecodecs.jpegls_encode(np.zeros((7, 9), np.uint8)), (7, 9)),
        (imagecodecs.jpeg2k_encode(np.zeros((7, 9), np.uint8), codecformat="j2k"), (7, 9)),
        (imagecodecs.jpeg2k_encode(np.zeros((7, 9), np.uint8), codecformat="jp2"), (7, 9)),
        (b"\xff\xd8\xff\xff\x01\xff\xd0\xff\xc0\0\x0b\x08\0\x07\0\x09\x01\1\x11\0", (7, 9)),
    ],
    ids=["jpeg", "jpeg-ls", "j2k", "jp2", "fill bytes"],
)
def test_a_codestream_s_size_is_read_from_its_own_header(codestream, size):
    assert declared_size(codestream) == size


@pytest.mark.parametrize(
    "codestream",
    [b"", b"\xff\x4f\xff\x51\0\0", b"\0\0\0\x0cjP  ", b"\xff\xd8", b"\xff\xd8\xff\xe0\0\x10" + b"\0" * 30],
)
def test_a_codestream_without_a_size_is_refused(codestream):
    with pytest.raises(UndecodableError):
        declared_size(codestream)


def test_the_plugin_is_there_for_its_syntaxes_alone():
    assert all(is_available(syntax) for syntax in SYNTAXES)
    assert JPEGBaseline8Bit in SYNTAXES
    assert not is_available(RLELossless)
