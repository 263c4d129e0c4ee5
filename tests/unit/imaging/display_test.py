"""Modality transform, VOI window, polarity (PS3.3 C.11)."""

import numpy as np
import pytest
from pydicom import Dataset

from orthanc_al.imaging import display
from orthanc_al.imaging.frames import frame_attributes

RAMP = np.arange(0, 256, dtype=np.float32).reshape(16, 16)


def _frame(**values) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _table(first: int, values: list[int], bits: int = 8) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), first, bits])
    item.add_new("LUTData", "US", values)
    return item


def test_a_linear_window_follows_the_standard_s_formula():
    # C.11.2.1.2.1: c = 128, w = 128: black up to 64 - 0.5 + ..., white from 191 on
    shown = display.linear(RAMP, 128, 128)
    assert shown.flat[64] == pytest.approx((64 - 127.5) / 127 + 0.5)
    assert shown.flat[64] == 0 or shown.flat[63] == 0
    assert shown.flat[191] == 1
    assert np.all(np.diff(shown.ravel()) >= 0)


def test_a_linear_window_of_width_1_is_a_step():
    shown = display.linear(RAMP, 100, 1)
    assert (shown.flat[99], shown.flat[100]) == (0, 1)


def test_a_linear_exact_window_and_a_sigmoid_are_half_at_the_centre():
    assert display.linear_exact(RAMP, 100, 50).flat[100] == 0.5
    assert display.sigmoid(RAMP, 100, 50).flat[100] == 0.5
    assert display.linear_exact(RAMP, 100, 50).flat[125] == 1
    assert display.sigmoid(RAMP, 100, 50).flat[125] == pytest.approx(1 / (1 + np.exp(-2)), rel=1e-6)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", display.linear),
        ("LINEAR_EXACT", display.linear_exact),
        ("SIGMOID", display.sigmoid),
        ("ODD", display.linear),
    ],
)
def test_the_function_that_the_object_names_is_used(function, expected):
    frame = _frame(WindowCenter="100", WindowWidth="50", VOILUTFunction=function)
    assert np.array_equal(display.windowed(RAMP, frame), expected(RAMP, 100, 50))


def test_the_first_of_several_windows_counts():
    frame = _frame(WindowCenter=["100", "3"], WindowWidth=["50", "4"])
    assert np.array_equal(display.windowed(RAMP, frame), display.linear(RAMP, 100, 50))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"WindowCenter": "100"},
        {"WindowCenter": "100", "WindowWidth": "0"},
        {"WindowCenter": "100", "WindowWidth": "0.5"},
        {"WindowCenter": "100", "WindowWidth": "-3"},
        {"WindowCenter": "100000", "WindowWidth": "10"},
        {"WindowCenter": "100", "WindowWidth": "0", "VOILUTFunction": "SIGMOID"},
    ],
)
def test_a_window_that_is_missing_wrong_or_shows_nothing_is_passed_over(values):
    assert np.array_equal(display.windowed(RAMP, _frame(**values)), display.full_range(RAMP))


def test_a_voi_lut_comes_before_a_window():
    frame = _frame(WindowCenter="100", WindowWidth="50", VOILUTSequence=[_table(10, [0, 50, 100])])
    shown = display.windowed(RAMP, frame)
    assert (shown.flat[0], shown.flat[11], shown.flat[200]) == (0, 0.5, 1)


def test_a_lut_of_bytes_and_one_with_a_signed_start_are_read():
    item = _table(0, [0])
    item.add_new("LUTDescriptor", "US", [3, 65535, 16])
    item.add_new("LUTData", "OW", np.array([5, 6, 7], np.uint16).tobytes())
    values = display.modality_values(np.array([[-1, 0, 1]], np.int16), _frame(ModalityLUTSequence=[item]))
    assert values.tolist() == [[5, 6, 7]]
    item.LUTData = b"\x05\x06\x07"
    assert display.modality_values(
        np.array([[-1, 1]], np.int16), _frame(ModalityLUTSequence=[item])
    ).tolist() == [[5, 7]]


def test_an_empty_lut_is_none():
    item = Dataset()
    item.LUTData = None
    assert np.array_equal(display.modality_values(RAMP, _frame(ModalityLUTSequence=[item])), RAMP)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"RescaleSlope": "2", "RescaleIntercept": "-10"}, 2 * RAMP - 10),
        ({"RescaleSlope": "1", "RescaleIntercept": "0"}, RAMP),
        ({"RescaleSlope": "0", "RescaleIntercept": "5"}, RAMP),
        ({"RescaleSlope": "2"}, RAMP),
        ({}, RAMP),
    ],
)
def test_rescale_is_applied_where_it_is_whole(values, expected):
    assert np.array_equal(display.modality_values(RAMP, _frame(**values)), expected)


def test_full_range_leaves_padding_out_and_a_flat_image_dark():
    padding = RAMP < 100
    shown = display.full_range(RAMP, padding)
    assert (shown.flat[99], shown.flat[100], shown.flat[255]) == (0, 0, 1)
    assert not display.full_range(np.full((4, 4), 7, np.float32)).any()
    assert np.array_equal(display.full_range(RAMP, np.ones_like(padding)), display.full_range(RAMP))


@pytest.mark.parametrize("value", [None, "", [], float("nan"), float("inf")])
def test_what_is_no_number_is_none(value):
    dataset = {"RescaleSlope": value}
    assert display.number(dataset, "RescaleSlope") is None


def test_a_frame_s_own_group_comes_before_the_shared_one_and_that_before_the_top():
    def group(center: str) -> Dataset:
        return _frame(FrameVOILUTSequence=[_frame(WindowCenter=center, WindowWidth="10")])

    dataset = _frame(
        WindowCenter="1",
        RescaleSlope="3",
        SharedFunctionalGroupsSequence=[group("2")],
        PerFrameFunctionalGroupsSequence=[group("3"), Dataset()],
    )
    assert [frame_attributes(dataset, index).WindowCenter for index in range(3)] == [3, 2, 2]
    assert frame_attributes(dataset, 0).RescaleSlope == 3
