"""Frames at a half or a quarter of their size: what the codestream has, and never another picture."""

import os
import warnings
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
from pydicom.uid import (
    HTJ2K,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
)

from orthanc_al.domain.preprocessing import PreprocessingSpec, reduction
from orthanc_al.errors import UndecodableError
from orthanc_al.imaging import codecs
from orthanc_al.imaging.codestream import jpeg_2000_header
from orthanc_al.imaging.decode import Wanted, stored_frames
from orthanc_al.imaging.model_input import model_inputs
from orthanc_al.imaging.reading import map_image
from tests.unit.imaging.decode_test import _compressed, _save, wrap

QUARTER = Wanted("quarter", 16)


def _j2k(pixels, **options):
    return imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True, **options)


@pytest.fixture
def film(grey):
    """A film of 384 x 320 pixels with black and white in it."""
    large = cv2.resize(grey, (320, 384), interpolation=cv2.INTER_CUBIC)
    large[100:140, 100:140], large[100:140, 140:180] = 0, 255
    return large


def _frame(path: Path, wanted: Wanted):
    (frame,) = stored_frames(map_image(path), wanted=wanted)
    return frame


@pytest.mark.parametrize(
    ("decode", "shorter", "halvings"),
    [
        ("full", 9000, 0),
        ("half", 9000, 1),
        ("quarter", 9000, 2),
        ("auto", 9000, 3),
        ("auto", 2560, 2),
        ("auto", 5120, 3),
        ("auto", 5119, 2),
        ("quarter", 2559, 1),
        ("half", 1279, 0),
    ],
)
def test_enough_is_left_for_the_model_s_input(decode, shorter, halvings):
    assert reduction(decode, shorter, 128) == halvings


@pytest.mark.parametrize("wanted", [Wanted("half", 16), QUARTER])
@pytest.mark.parametrize(
    "syntax", [JPEG2000Lossless, HTJ2KLossless, JPEGBaseline8Bit], ids=lambda uid: uid.name
)
def test_a_reduced_frame_is_the_same_picture_and_smaller(film, tmp_path: Path, syntax, wanted):
    encode = {
        JPEG2000Lossless: _j2k,
        HTJ2KLossless: imagecodecs.htj2k_encode,
        JPEGBaseline8Bit: lambda pixels: imagecodecs.jpeg8_encode(pixels, level=98),
    }[syntax]
    path = _save(_compressed(wrap(film, 1), syntax, encode(film)), tmp_path / "film.dcm")
    frame = _frame(path, wanted)
    factor = {"half": 2, "quarter": 4}[wanted.decode]
    assert frame.pixels.shape == (384 // factor, 320 // factor)
    assert (frame.rows, frame.columns) == (384, 320)
    averaged = cv2.resize(film, frame.pixels.shape[::-1], interpolation=cv2.INTER_AREA).astype(int)
    difference = np.abs(frame.pixels.astype(int) - averaged)
    assert difference.mean() < 4
    assert difference.max() < 128  # an overshoot that wraps around would make white of black


@pytest.mark.parametrize(
    "wanted", [Wanted("full", 16), Wanted("half", 16), QUARTER], ids=lambda one: one.decode
)
def test_several_threads_make_the_same_frame_as_one(grey, tmp_path: Path, monkeypatch, wanted):
    large = cv2.resize(grey, (1200, 1500), interpolation=cv2.INTER_CUBIC)
    path = _save(_compressed(wrap(large, 1), JPEG2000Lossless, _j2k(large)), tmp_path / "film.dcm")
    frames = []
    for threads in ("1", "4"):
        monkeypatch.setenv(codecs.THREADS, threads)
        frames.append(_frame(path, wanted).pixels)
    assert np.array_equal(*frames)


def test_a_frame_gets_several_threads_unless_somebody_said_how_many(monkeypatch):
    monkeypatch.delenv(codecs.THREADS, raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    codecs.register()
    assert os.environ[codecs.THREADS] == "4"
    monkeypatch.setenv(codecs.THREADS, "1")
    codecs.register()
    assert os.environ[codecs.THREADS] == "1"


@pytest.mark.parametrize("encode", [_j2k, imagecodecs.htj2k_encode], ids=["JPEG 2000", "HTJ2K"])
@pytest.mark.parametrize("decode", ["half", "quarter", "auto"])
@pytest.mark.parametrize(("rows", "columns"), [(385, 321), (386, 326), (387, 323), (390, 333)])
def test_sides_that_can_t_be_halved_evenly_are_rounded_up(
    grey, tmp_path: Path, encode, decode, rows, columns
):
    film = cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_CUBIC)
    syntax = JPEG2000Lossless if encode is _j2k else HTJ2KLossless
    path = _save(_compressed(wrap(film, 1), syntax, encode(film)), tmp_path / "film.dcm")
    frame = _frame(path, Wanted(decode, 8))
    factor = {"half": 2, "quarter": 4, "auto": 8}[decode]
    assert frame.pixels.shape == (-(-rows // factor), -(-columns // factor))
    averaged = cv2.resize(film, frame.pixels.shape[::-1], interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(frame.pixels.astype(int) - averaged).mean() < 5


def _htj2k(stored, bits: int) -> bytes:
    """Encode signed values; the precision is written over the encoder's 16 (there is no level shift)."""
    codestream = bytearray(imagecodecs.htj2k_encode(stored))
    if bits < 16:
        codestream[42] = 0x80 | (bits - 1)
    return bytes(codestream)


@pytest.mark.parametrize(
    ("syntax", "bits", "signed"),
    [(JPEG2000Lossless, bits, signed) for bits in (12, 16) for signed in (False, True)]
    + [(HTJ2KLossless, 12, True), (HTJ2KLossless, 16, True), (HTJ2KLossless, 16, False)],
)
@pytest.mark.parametrize("wanted", [Wanted(), QUARTER])
def test_values_keep_their_scale_and_sign(film, tmp_path: Path, syntax, bits, signed, wanted):
    stored = (film.astype(np.int32) << (bits - 8)) - ((1 << (bits - 1)) if signed else 0)
    stored = stored.astype(np.int16 if signed else np.uint16)
    codestream = _j2k(stored, bitspersample=bits) if syntax == JPEG2000Lossless else _htj2k(stored, bits)
    assert jpeg_2000_header(codestream).precision == bits
    dataset = _compressed(wrap(film, 1, bits=12), syntax, codestream)
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, int(signed)
    frame = _frame(_save(dataset, tmp_path / "film.dcm"), wanted)
    assert frame.pixels.dtype == stored.dtype
    averaged = cv2.resize(stored, frame.pixels.shape[::-1], interpolation=cv2.INTER_AREA).astype(int)
    difference = np.abs(frame.pixels.astype(int) - averaged)
    assert difference.mean() < (4 << (bits - 8) if wanted is QUARTER else 1e-9)
    assert difference.max() < 1 << (bits - 1)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, HTJ2KLossless])
def test_an_overshoot_beyond_bits_stored_does_not_wrap_around(tmp_path: Path, syntax):
    """The codestream has 16 bits and the header 12: bits above them are cleared later."""
    noise = np.random.default_rng(0).integers(0, 2, (40, 40))
    checks = (np.kron(noise, np.ones((16, 16))) * 4095).astype(np.uint16)
    codestream = {JPEG2000Lossless: _j2k, HTJ2KLossless: imagecodecs.htj2k_encode}[syntax](checks)
    dataset = _compressed(wrap((checks >> 4).astype(np.uint8), 1, bits=12), syntax, codestream)
    pixels = _frame(_save(dataset, tmp_path / "film.dcm"), QUARTER).pixels
    averaged = cv2.resize(checks, pixels.shape[::-1], interpolation=cv2.INTER_AREA).astype(int)
    assert pixels.max() == 4095
    assert np.abs(pixels.astype(int) - averaged).max() < 2048


def test_bits_of_a_sign_that_the_codestream_does_not_know_are_decoded_in_full(film, tmp_path: Path):
    stored = (film.astype(np.int16) << 4) - 2048
    dataset = wrap(film, 1, bits=12)
    dataset.PixelRepresentation = 1
    dataset = _compressed(
        dataset, JPEG2000Lossless, _j2k((stored & 0xFFF).astype(np.uint16), bitspersample=12)
    )
    assert np.array_equal(_frame(_save(dataset, tmp_path / "film.dcm"), QUARTER).pixels, stored)


def test_lossy_htj2k_without_spare_bits_does_not_wrap_around(tmp_path: Path):
    """OpenJPH limits nothing: in a cell of 8 bits its 256 would be 0."""
    noise = np.random.default_rng(0).integers(0, 2, (32, 32))
    checks = (np.kron(noise, np.ones((8, 8))) * 255).astype(np.uint8)
    codestream = imagecodecs.htj2k_encode(checks, reversible=False)
    assert np.abs(imagecodecs.htj2k_decode(codestream).astype(int) - checks).max() > 200
    path = _save(_compressed(wrap(checks, 1), HTJ2K, codestream), tmp_path / "film.dcm")
    assert np.abs(_frame(path, Wanted()).pixels.astype(int) - checks).max() <= 1


def test_a_codestream_without_smaller_versions_comes_in_full(film, tmp_path: Path):
    flat = _compressed(wrap(film, 1), JPEG2000Lossless, _j2k(film, resolutions=1))
    assert _frame(_save(flat, tmp_path / "flat.dcm"), QUARTER).pixels.shape == film.shape
    other = _compressed(wrap(film, 1), JPEGLSLossless, imagecodecs.jpegls_encode(film))
    assert np.array_equal(_frame(_save(other, tmp_path / "ls.dcm"), QUARTER).pixels, film)
    assert _frame(_save(wrap(film, 1), tmp_path / "plain.dcm"), QUARTER).pixels.shape == film.shape


def test_frames_of_one_instance_are_all_reduced(film, tmp_path: Path):
    dataset = _compressed(wrap(film, 1), JPEG2000Lossless, _j2k(film), _j2k(film[::-1].copy()), _j2k(film))
    dataset.NumberOfFrames = 3
    path = _save(dataset, tmp_path / "film.dcm")
    frames = list(stored_frames(map_image(path), wanted=QUARTER))
    assert [frame.frame for frame in frames] == [1, 2, 3]
    assert {frame.pixels.shape for frame in frames} == {(96, 80)}
    assert np.array_equal(frames[0].pixels, frames[2].pixels)
    (middle,) = stored_frames(map_image(path), wanted=Wanted("quarter", 16, frames=1))
    assert middle.frame == 2
    assert np.array_equal(middle.pixels, frames[1].pixels)


def test_a_reduced_decode_moves_the_model_input_little(film, tmp_path: Path):
    path = _save(_compressed(wrap(film, 1), JPEG2000Lossless, _j2k(film)), tmp_path / "film.dcm")
    (full,) = model_inputs(path, PreprocessingSpec(size=16))
    (half,) = model_inputs(path, PreprocessingSpec(size=16, decode="quarter"))
    assert (half.rows, half.columns, half.field) == (full.rows, full.columns, full.field)
    assert not np.array_equal(half.pixels, full.pixels)
    assert np.abs(half.pixels - full.pixels).mean() < 0.05


def test_evenly_spaced_frames_of_a_native_image(grey, tmp_path: Path):
    dataset = wrap(grey, 1)
    dataset.NumberOfFrames = 9
    dataset.PixelData = b"".join((grey // 16 + number).tobytes() for number in range(9))
    path = _save(dataset, tmp_path / "cine.dcm")
    frames = list(stored_frames(map_image(path), wanted=Wanted(frames=3)))
    assert [frame.frame for frame in frames] == [2, 5, 8]
    assert [int(frame.pixels.min()) - int((grey // 16).min()) for frame in frames] == [1, 4, 7]


def test_native_frames_are_views_of_the_file(grey, tmp_path: Path):
    frame = _frame(_save(wrap(grey, 1), tmp_path / "film.dcm"), Wanted())
    assert not frame.pixels.flags.owndata
    assert not frame.pixels.flags.writeable


def test_a_frame_that_the_file_ends_within_is_refused(film, tmp_path: Path):
    path = _save(_compressed(wrap(film, 1), JPEG2000Lossless, _j2k(film)), tmp_path / "film.dcm")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UndecodableError, match="end within a frame"):
        _frame(path, Wanted())


def test_another_plugin_takes_what_ours_can_t(film, tmp_path: Path):
    path = _save(
        _compressed(wrap(film, 1), JPEGLSLossless, imagecodecs.jpegls_encode(film)), tmp_path / "f.dcm"
    )
    broken = pytest.MonkeyPatch()
    broken.setattr(imagecodecs, "jpegls_decode", lambda *_: (_ for _ in ()).throw(ValueError("no")))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert np.array_equal(_frame(path, Wanted()).pixels, film)
    finally:
        broken.undo()


@pytest.mark.parametrize("codestream", [b"", b"\xff\x4f\xff\x51\0\0", b"\xff\x4f\xff\x51" + b"\0" * 50])
def test_a_jpeg_2000_header_that_ends_too_early_is_refused(codestream):
    if len(codestream) > 50:
        assert jpeg_2000_header(codestream).levels == 0
    else:
        with pytest.raises(UndecodableError):
            jpeg_2000_header(codestream)
