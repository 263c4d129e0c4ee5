"""Which preprocessing a model was trained with (promise 7): plain data, as a manifest states it."""

from dataclasses import dataclass
from typing import Final, Literal

GREY_SQUARE: Final = "grey-square"
"""What a reader sees, standardised; :mod:`orthanc_al.imaging.preprocess` defines it."""

WINDOWED_SQUARE: Final = "windowed-square"
"""Hounsfield windows as channels; :mod:`orthanc_al.imaging.preprocess` defines it."""

KNOWN_PREPROCESSING: Final = frozenset({(GREY_SQUARE, 1), (GREY_SQUARE, 2), (WINDOWED_SQUARE, 1)})
"""Name and version of each preprocessing that this program can do."""

Decode = Literal["full", "half", "quarter", "auto"]
"""At which size frames are decoded, where their codestream has smaller ones."""

_HALVINGS: Final[dict[Decode, int]] = {"full": 0, "half": 1, "quarter": 2, "auto": 3}
_ENOUGH: Final = 5
"""The shorter side stays at least this many times the model's input: at 4 and at 4.75 a probability moved by
more than 0.01 (docs/pixels.md)."""


@dataclass(frozen=True, slots=True)
class PreprocessingSpec:
    """Name, version and parameters of a preprocessing.

    A model package names the one it was trained with, and scoring does that one or none: a change
    of a single pixel's meaning is a new version.

    Attributes
    ----------
    size
        Side of the square model input, in pixels.
    low_percentile, high_percentile
        Grey values below the one and above the other are clipped, in percent of the pixels.
    decode
        At which size frames are decoded before they are resized.
    windows
        Of `WINDOWED_SQUARE`: centre and width of each channel, in Hounsfield units.
    """

    name: str = GREY_SQUARE
    version: int = 1
    size: int = 128
    low_percentile: float = 1.0
    high_percentile: float = 99.0
    decode: Decode = "full"
    windows: tuple[tuple[float, float], ...] = ()

    @property
    def known(self) -> bool:
        """Whether this program can do it."""
        return (self.name, self.version) in KNOWN_PREPROCESSING

    @property
    def channels(self) -> int:
        """Channels of the model input."""
        return len(self.windows) or 1

    def fault(self) -> str | None:
        """Return what is wrong with the parameters, None where nothing is."""
        if not self.known:
            return f"{self.name!r} version {self.version} is not known to this orthanc_al"
        if not (self.size > 0 and 0.0 <= self.low_percentile < self.high_percentile <= 100.0):
            return "size is positive, and 0 <= low_percentile < high_percentile <= 100"
        if bool(self.windows) != (self.name == WINDOWED_SQUARE):
            return f"{WINDOWED_SQUARE} has windows, the others have none"
        if any(width <= 0 for _, width in self.windows):
            return "the width of a window is positive"
        return None


def reduction(decode: Decode, shorter: int, size: int) -> int:
    """Return how often the sides of a frame are halved while it is decoded: 0 to 3.

    ``half`` and ``quarter`` are the most that is done, and ``auto`` is as much as there is; in any
    case enough is left for the model's input.

    Parameters
    ----------
    shorter
        Shorter side of the frame, in pixels.
    size
        Side of what is made of it.
    """
    wanted = _HALVINGS[decode]
    while wanted and shorter >> wanted < _ENOUGH * size:
        wanted -= 1
    return wanted
