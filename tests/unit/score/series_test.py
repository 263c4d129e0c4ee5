"""Slices by their places: order, duplicates, gaps, and what is no slice of the stack."""

import numpy as np

from orthanc_al.domain import ImageScore
from orthanc_al.domain.geometry import SlicePlace
from orthanc_al.score.series import arrange

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
TILTED = (1.0, 0.0, 0.0, 0.0, 0.9397, 0.3420)


def _slice(name, z=None, orientation=AXIAL, size=512, frame=1):
    place = None if z is None else SlicePlace((0.0, 0.0, z), orientation, size, size)
    return ImageScore(name, frame, np.zeros(1, np.float32), np.zeros(4, np.float32), (None,), place)


def _names(scores):
    return [score.instance_id for score in scores]


def test_slices_are_in_the_order_of_their_places_whatever_the_order_of_arrival():
    arranged = arrange([_slice("a", 10), _slice("b", -5), _slice("c", 2.5)], {}, placed=True)
    assert _names(arranged.kept) == ["b", "c", "a"]


def test_the_order_follows_the_normal_of_a_tilted_stack():
    slices = [_slice(name, z, TILTED) for name, z in (("a", 5.0), ("b", 0.0), ("c", 10.0))]
    arranged = arrange(slices, {}, placed=True)
    assert _names(arranged.kept) == ["b", "a", "c"]
    assert arranged.gaps == {}


def test_of_two_slices_at_one_place_the_second_is_left_out():
    arranged = arrange([_slice("b", 0), _slice("a", 0.001), _slice("c", 5)], {}, placed=True)
    assert _names(arranged.kept) == ["b", "c"]
    assert "second slice at the same place" in arranged.left_out["a", 1]


def test_a_gap_is_told_at_the_slice_behind_it():
    arranged = arrange([_slice(str(z), float(z)) for z in (0, 5, 10, 25, 30)], {}, placed=True)
    assert len(arranged.kept) == 5
    assert arranged.gaps == {("25", 1): "a gap of 15.0 mm before this slice, where 5.0 mm are usual"}
    assert arranged.remarks == {"25": arranged.gaps["25", 1]}


def test_localizers_and_other_sizes_are_left_out():
    stack = [_slice(f"s{z}", float(z)) for z in range(3)]
    odd = [_slice("scout", 0.0, SAGITTAL), _slice("small", 9.0, size=256)]
    arranged = arrange([*odd, *stack], {}, placed=True)
    assert _names(arranged.kept) == ["s0", "s1", "s2"]
    assert "another orientation" in arranged.left_out["scout", 1]
    assert arranged.left_out["small", 1] == "a slice of 256 x 256 pixels among ones of 512 x 512"


def test_a_slice_without_a_place_is_left_out_or_comes_last_as_the_package_says():
    slices = [_slice("a"), _slice("b", 3.0)]
    asked = arrange(slices, {}, placed=True)
    assert _names(asked.kept) == ["b"]
    assert "without a place" in asked.left_out["a", 1]
    assert _names(arrange(slices, {}, placed=False).kept) == ["b", "a"]


def test_series_are_stacks_of_their_own():
    slices = [_slice("a", 0.0), _slice("b", 0.0), _slice("c", 5.0)]
    arranged = arrange(slices, {"a": "1", "b": "2", "c": "1"}, placed=True)
    assert _names(arranged.kept) == ["a", "c", "b"]
    assert arranged.left_out == {}


def test_frames_of_one_object_are_slices_too():
    slices = [_slice("x", z, frame=number) for number, z in ((1, 4.0), (2, 2.0), (3, 0.0))]
    assert [one.frame for one in arrange(slices, {}, placed=True).kept] == [3, 2, 1]
