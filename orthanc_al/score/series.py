"""The slices of a series, in the order of their places: what belongs to it, and what is missing. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from statistics import median
from typing import Final

from orthanc_al.domain import ImageScore
from orthanc_al.domain.geometry import SlicePlace

_PARALLEL: Final = 0.999
"""Cosine between the normals of slices of one stack."""
_SAME_PLACE: Final = 0.01
"""Slices nearer to each other than this, in mm, are at one place."""
_GAP: Final = 1.5
"""A step above this many times the usual one is a gap."""

Key = tuple[str, int]
"""Instance id and frame."""


@dataclass(slots=True)
class Arranged:
    """A study's slices.

    Attributes
    ----------
    kept
        In the order of their places, series by series; those without a place at the end of theirs.
    left_out
        Why a slice is left out.
    gaps
        What is missing before a slice.
    """

    kept: list[ImageScore] = field(default_factory=list)
    left_out: dict[Key, str] = field(default_factory=dict)
    gaps: dict[Key, str] = field(default_factory=dict)

    @property
    def remarks(self) -> dict[str, str]:
        """What is to be said of instances, by their id; of one with many frames, what its first one got."""
        said: dict[str, str] = {}
        for (instance_id, _), words in [*self.left_out.items(), *self.gaps.items()]:
            said.setdefault(instance_id, words)
        return said


def arrange(scores: Iterable[ImageScore], series: Mapping[str, str], *, placed: bool) -> Arranged:
    """Return a study's slices in order, without what does not belong to their stacks.

    Parameters
    ----------
    scores
        Of the study's slices.
    series
        Series Instance UID by instance id.
    placed
        Whether a slice has to name its place.
    """
    arranged = Arranged()
    ordered = sorted(scores, key=lambda one: (series.get(one.instance_id, ""), one.instance_id, one.frame))
    for _, group in groupby(ordered, key=lambda one: series.get(one.instance_id, "")):
        _arrange_series(list(group), arranged, placed=placed)
    return arranged


def _arrange_series(scores: Sequence[ImageScore], arranged: Arranged, *, placed: bool) -> None:
    without = [one for one in scores if one.place is None]
    stack = _stack([(one, one.place) for one in scores if one.place is not None], arranged)
    if placed:
        for one in without:
            arranged.left_out[_key(one)] = "a slice without a place in the patient (0020,0032), (0020,0037)"
    arranged.kept += _without_duplicates(stack, arranged)
    arranged.kept += [] if placed else without


def _stack(
    slices: Sequence[tuple[ImageScore, SlicePlace]], arranged: Arranged
) -> list[tuple[float, ImageScore]]:
    """Return the slices of the most common size and direction, with their distance along it, in mm."""
    if not slices:
        return []
    size = Counter((place.rows, place.columns) for _, place in slices).most_common(1)[0][0]
    normal = _most_common_normal([place for _, place in slices])
    stack = []
    for one, place in slices:
        if (place.rows, place.columns) != size:
            words = f"a slice of {place.columns} x {place.rows} pixels among ones of {size[1]} x {size[0]}"
            arranged.left_out[_key(one)] = words
        elif abs(_dot(place.normal, normal)) < _PARALLEL:
            arranged.left_out[_key(one)] = "a slice of another orientation than its series"
        else:
            stack.append((place.along(normal), one))
    return sorted(stack, key=lambda item: (item[0], *_key(item[1])))


def _most_common_normal(places: Sequence[SlicePlace]) -> tuple[float, float, float]:
    normals = Counter(tuple(round(part, 2) for part in place.normal) for place in places)
    common = normals.most_common(1)[0][0]
    return next(place.normal for place in places if tuple(round(part, 2) for part in place.normal) == common)


def _without_duplicates(stack: Sequence[tuple[float, ImageScore]], arranged: Arranged) -> list[ImageScore]:
    kept: list[tuple[float, ImageScore]] = []
    for place, one in stack:
        if kept and place - kept[-1][0] < _SAME_PLACE:
            arranged.left_out[_key(one)] = "a second slice at the same place of its series"
        else:
            kept.append((place, one))
    steps = [(after - before, one) for (before, _), (after, one) in pairwise(kept)]
    usual = median(step for step, _ in steps) if steps else 0.0
    for step, one in steps:
        if step > _GAP * usual:
            words = f"a gap of {step:.1f} mm before this slice, where {usual:.1f} mm are usual"
            arranged.gaps[_key(one)] = words
    return [one for _, one in kept]


def _key(one: ImageScore) -> Key:
    return one.instance_id, one.frame


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
