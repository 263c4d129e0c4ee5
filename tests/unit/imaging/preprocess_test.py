"""grey-square version 1: the same pixels for training and for scoring."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.errors import PackageRefusedError
from orthanc_al.imaging.preprocess import preprocess

SPEC = PreprocessingSpec(size=32)


def film(height: int = 90, width: int = 70, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4096, (height, width)).astype(np.uint16)


def test_the_result_is_a_square_float32_image_of_mean_0_and_deviation_1() -> None:
    result = preprocess(film(), SPEC)
    assert result.shape == (1, 32, 32)
    assert result.dtype == np.float32
    assert result.mean() == pytest.approx(0.0, abs=1e-5)
    assert result.std() == pytest.approx(1.0, abs=1e-5)


@given(gain=st.floats(0.01, 100.0), offset=st.floats(-1000.0, 1000.0))
def test_gain_and_offset_change_nothing(gain: float, offset: float) -> None:
    image = film().astype(np.float64)
    changed = preprocess(image * gain + offset, SPEC)
    np.testing.assert_allclose(changed, preprocess(image, SPEC), atol=2e-2)


def test_inversion_changes_the_result_since_bright_means_dense() -> None:
    image = film().astype(np.float32)
    np.testing.assert_allclose(preprocess(-image, SPEC), -preprocess(image, SPEC), atol=1e-4)


def test_padding_takes_no_part_in_the_grey_levels() -> None:
    image = film(64, 64).astype(np.float32)
    padding = np.zeros(image.shape, np.bool_)
    padding[:, :32] = True
    dark, bright = image.copy(), image.copy()
    dark[padding], bright[padding] = -30000.0, 30000.0
    np.testing.assert_array_equal(preprocess(dark, SPEC, padding), preprocess(bright, SPEC, padding))
    seen = preprocess(bright, SPEC, padding)[0, :, 17:]
    assert seen.mean() == pytest.approx(0.0, abs=0.05)
    assert seen.std() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("share", ["none", "all"])
def test_a_mask_that_excludes_nothing_or_everything_is_no_mask(share: str) -> None:
    image = film()
    mask = np.full(image.shape, share == "all")
    np.testing.assert_array_equal(preprocess(image, SPEC, mask), preprocess(image, SPEC))


def test_a_mask_that_leaves_no_pixel_of_the_square_still_gives_an_image() -> None:
    image = film(320, 320)
    mask = np.ones(image.shape, np.bool_)
    mask[::10, ::10] = False
    assert np.isfinite(preprocess(image, SPEC, mask)).all()


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_an_image_without_contrast_is_all_zeros(value: int) -> None:
    assert not preprocess(np.full((50, 40), value, np.uint16), SPEC).any()


def test_a_few_very_bright_pixels_do_not_decide_the_contrast() -> None:
    image = film(64, 64).astype(np.float32)
    marked = image.copy()
    marked[:3, :3] = 1e6
    without_marker = preprocess(image, SPEC)[0, 4:, 4:]
    np.testing.assert_allclose(preprocess(marked, SPEC)[0, 4:, 4:], without_marker, atol=0.2)


def test_small_images_are_enlarged() -> None:
    assert preprocess(film(5, 9), SPEC).shape == (1, 32, 32)


def test_version_1_means_these_very_pixels() -> None:
    """Where a step changes, the version changes, and not the values here."""
    y, x = np.mgrid[0:96, 0:80]
    image = (x * 13 + y * 7 + (x * y) % 31 * 20).astype(np.uint16)
    result = preprocess(image, SPEC)[0]
    places = ((0, 0), (3, 20), (11, 5), (16, 16), (25, 30), (31, 31))
    expected = [-2.2153, -0.3306, -0.9429, 0.1234, 2.0159, 1.9205]
    assert [result[place] for place in places] == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("spec", [PreprocessingSpec(name="other"), PreprocessingSpec(version=3)])
def test_an_unknown_preprocessing_is_refused(spec: PreprocessingSpec) -> None:
    with pytest.raises(PackageRefusedError, match="not known"):
        preprocess(film(), spec)


@pytest.mark.parametrize("shape", [(3, 4, 5), (0, 7), (7,)])
def test_what_is_no_grey_image_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="grey image"):
        preprocess(np.zeros(shape), SPEC)
