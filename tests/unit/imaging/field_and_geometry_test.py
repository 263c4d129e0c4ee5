"""The collimated field, the square that keeps it, Hounsfield windows, and where a frame lies."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.imaging.field import Field, collimated
from orthanc_al.imaging.frames import frame_attributes
from orthanc_al.imaging.geometry import pixel_ratio, place_of
from orthanc_al.imaging.model_input import model_inputs
from orthanc_al.imaging.preprocess import prepare, preprocess
from tests.support.radiographs import wrap

FITTED = PreprocessingSpec(version=2, size=64)


def _film(rows: int = 300, columns: int = 200) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 20, (rows, columns)).astype(np.float32)


def test_the_shutter_and_what_is_burned_into_it_are_left_out():
    image = np.full((400, 400), 3.0, np.float32)
    image[80:330, 60:360] = _film(250, 300)
    image[20:30, 10:30] = 255.0  # letters in the border
    field = collimated(image)
    assert 70 <= field.top <= 84
    assert 325 <= field.bottom <= 340
    assert 50 <= field.left <= 64
    assert 355 <= field.right <= 370


@pytest.mark.parametrize("image", [_film(), np.full((50, 40), 7.0, np.float32)])
def test_without_a_border_nothing_goes(image):
    assert collimated(image) == Field.whole(*image.shape)


def test_at_most_two_fifths_of_a_side_go():
    image = np.zeros((100, 100), np.float32)
    image[90:, 90:] = _film(10, 10)
    field = collimated(image)
    assert field.bottom - field.top >= 60
    assert field.right - field.left >= 60


def test_the_fitted_square_keeps_the_aspect_and_says_what_it_shows():
    image = _film(300, 200)
    made = prepare(image, FITTED)
    assert made.pixels.shape == (1, 64, 64)
    outside = made.pixels[0, :, :10]
    assert np.ptp(outside) == 0  # beside the film
    assert made.field.top == 0
    assert made.field.bottom == pytest.approx(300)
    assert made.field.right - made.field.left == pytest.approx(300, rel=0.05)
    assert made.field.left == pytest.approx(-50, abs=5)


def test_pixels_that_are_no_squares_are_made_so():
    tall = prepare(_film(150, 200), FITTED, ratio=2.0).pixels
    assert np.ptp(tall[0, :, :8]) == 0
    assert np.ptp(tall[0, :8, 20:40]) > 0
    assert np.array_equal(
        preprocess(_film(), PreprocessingSpec(), ratio=2.0), preprocess(_film(), PreprocessingSpec())
    )


def test_padding_beside_the_fitted_film_takes_no_part():
    image = _film(200, 200)
    padding = np.zeros(image.shape, np.bool_)
    padding[:, :50] = True
    low, high = image.copy(), image.copy()
    low[padding], high[padding] = -1e5, 1e5
    np.testing.assert_array_equal(prepare(low, FITTED, padding).pixels, prepare(high, FITTED, padding).pixels)


def test_hounsfield_windows_are_channels():
    spec = PreprocessingSpec("windowed-square", size=8, windows=((40, 400), (-600, 1500)))
    image = np.full((32, 32), -1000.0, np.float32)
    image[:, 16:] = 40.0
    pixels = preprocess(image, spec)
    assert pixels.shape == (2, 8, 8)
    assert pixels[0, 0].tolist() == [0.0] * 4 + [0.5] * 4
    assert pixels[1, 0, 0] == pytest.approx((-1000 + 600) / 1500 + 0.5)
    assert pixels[1, 0, 7] == pytest.approx((40 + 600) / 1500 + 0.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "windowed-square"}, "has windows"),
        ({"windows": ((1, 2),)}, "the others have none"),
        ({"name": "windowed-square", "windows": ((1, 0),)}, "width of a window"),
        ({"size": 0}, "size is positive"),
        ({"version": 9}, "not known"),
        ({}, None),
    ],
)
def test_a_spec_that_can_t_be_says_what_is_wrong(changes, words):
    fault = PreprocessingSpec(**changes).fault()
    assert fault is None if words is None else words in fault


def _enhanced(rows: int = 32) -> Dataset:
    pixels = np.random.default_rng(1).integers(0, 255, (rows, rows)).astype(np.uint8)
    dataset = wrap(pixels, 1)
    dataset.NumberOfFrames = 2
    dataset.PixelData = pixels.tobytes() * 2
    shared, orientation = Dataset(), Dataset()
    orientation.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    shared.PlaneOrientationSequence = Sequence([orientation])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for number in range(2):
        group, position, transformation = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = ["0", "0", str(5 * number)]
        group.PlanePositionSequence = Sequence([position])
        transformation.RescaleSlope, transformation.RescaleIntercept = str(1 + number), "-1024"
        group.PixelValueTransformationSequence = Sequence([transformation])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    return dataset


def test_each_frame_of_an_enhanced_object_has_its_own_place_and_units(tmp_path: Path):
    path = tmp_path / "enhanced.dcm"
    _enhanced().save_as(path, enforce_file_format=True)
    spec = PreprocessingSpec("windowed-square", size=8, windows=((-900, 600),))
    first, second = model_inputs(path, spec)
    assert [one.place.position[2] for one in (first, second)] == [0.0, 5.0]
    assert first.place.normal == (0.0, 0.0, 1.0)
    assert second.place.along(second.place.normal) == 5.0
    low, high = np.array([first.pixels.mean(), second.pixels.mean()]) * 600 - 1200 + 1024
    assert high == pytest.approx(2 * low, rel=1e-3)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"ImagePositionPatient": ["0", "0", "0"]},
        {"ImagePositionPatient": ["0", "0"], "ImageOrientationPatient": list("100010")},
        {"ImagePositionPatient": ["0", "0", "NaN"], "ImageOrientationPatient": list("100010")},
        {"ImagePositionPatient": list("000"), "ImageOrientationPatient": list("100100")},
        {"ImagePositionPatient": list("000"), "ImageOrientationPatient": list("000000")},
    ],
)
def test_a_place_that_can_t_be_is_none(values):
    attributes = Dataset()
    for keyword, value in values.items():
        setattr(attributes, keyword, value)
    assert place_of(attributes, 4, 4) is None


@pytest.mark.parametrize(
    ("values", "ratio"),
    [
        ({}, 1.0),
        ({"PixelAspectRatio": ["2", "1"]}, 2.0),
        ({"ImagerPixelSpacing": ["0.1", "0.2"], "PixelAspectRatio": ["2", "1"]}, 0.5),
        ({"PixelSpacing": ["0", "1"]}, 1.0),
        ({"PixelSpacing": "x"}, 1.0),
    ],
)
def test_the_shape_of_pixels_comes_from_spacing_or_aspect(values, ratio):
    dataset = Dataset()
    for keyword, value in values.items():
        dataset.add_new(keyword, "LO", value)
    assert pixel_ratio(frame_attributes(dataset, 0)) == ratio
