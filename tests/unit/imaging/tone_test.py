"""Tones by the table of distinct values: what doing each pixel gives, bit for bit."""

import numpy as np
import pytest
from pydicom import Dataset

from orthanc_al.errors import UndecodableError
from orthanc_al.imaging import display
from orthanc_al.imaging.tone import measured, toned


def _attributes(**values) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _lut(first: int, values: list[int]) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), first, 16])
    item.add_new("LUTData", "US", values)
    return item


WAYS = {
    "plain": {},
    "linear": {"WindowCenter": "40", "WindowWidth": "80"},
    "exact": {"WindowCenter": "40", "WindowWidth": "80", "VOILUTFunction": "LINEAR_EXACT"},
    "sigmoid": {"WindowCenter": "40", "WindowWidth": "80", "VOILUTFunction": "SIGMOID"},
    "voi table": {"VOILUTSequence": [_lut(-20, [5, 9, 3, 700, 80, 81, 82, 60])]},
    "modality table": {"ModalityLUTSequence": [_lut(0, list(range(900, 0, -3)))]},
    "rescaled": {
        "RescaleSlope": "-2.5",
        "RescaleIntercept": "-1024",
        "WindowCenter": "0",
        "WindowWidth": "90",
    },
    "a window that shows nothing": {"WindowCenter": "99999", "WindowWidth": "2"},
}


def _pixel_by_pixel(stored, attributes, *, inverted):
    values = display.modality_values(stored, attributes)
    padding = (stored == 7) if "PixelPaddingValue" in attributes and (stored == 7).any() else None
    shown = display.windowed(values, attributes, padding)
    return np.asarray(1.0 - shown, np.float32) if inverted else shown


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16, ">u2", ">i2", np.int32, np.float32])
@pytest.mark.parametrize(("inverted", "padded"), [(False, False), (False, True), (True, True)])
def test_the_table_gives_what_each_pixel_would(way, kind, inverted, padded):
    dtype = np.dtype(kind)
    low, high = (-100, 120) if dtype.kind in "if" else (0, 250)
    stored = np.random.default_rng(0).integers(low, high, (17, 23)).astype(dtype)
    attributes = _attributes(**WAYS[way])
    if padded:
        attributes.PixelPaddingValue = 7
    shown, padding = toned(stored, attributes, dtype.itemsize * 8, inverted=inverted)
    np.testing.assert_allclose(
        shown, _pixel_by_pixel(stored, attributes, inverted=inverted), rtol=0, atol=1e-6
    )
    assert (padding is None) or np.array_equal(padding, stored == 7)


def test_bits_beyond_bits_stored_are_no_part_of_a_value():
    stored = np.array([[0x1005, 0xF00A], [0x0FFF, 0x0000]], np.uint16)
    values, _ = measured(stored, Dataset(), 12)
    assert values.tolist() == [[5, 10], [4095, 0]]
    signed, _ = measured(stored.view(np.int16), Dataset(), 12)
    assert signed.tolist() == [[5, 10], [-1, 0]]


def test_padding_is_filled_with_the_darkest_of_the_rest():
    stored = np.array([[7, 50], [90, 7]], np.uint8)
    attributes = _attributes(PixelPaddingValue=7, WindowCenter="50", WindowWidth="100")
    shown, padding = toned(stored, attributes, 8, inverted=True, fill=True)
    assert padding.tolist() == [[True, False], [False, True]]
    assert shown[0, 0] == shown[1, 1] == shown[1, 0] < shown[0, 1]
    units, _ = measured(stored, _attributes(PixelPaddingValue=7, RescaleSlope="-1", RescaleIntercept="0"), 8)
    assert units.tolist() == [[-90, -50], [-90, -90]]
    nothing_else, _ = toned(np.full((2, 2), 7, np.uint8), attributes, 8, inverted=False, fill=True)
    assert len(set(nothing_else.ravel().tolist())) == 1


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_a_rescale_that_is_no_number_is_a_reason(keyword):
    values = {"RescaleSlope": "1", "RescaleIntercept": "0", keyword: "NaN"}
    with pytest.raises(UndecodableError, match=f"{keyword} is not a finite number"):
        measured(np.zeros((2, 2), np.uint8), _attributes(**values), 8)
