"""Which preprocessing a model was trained with (promise 7): plain data, as a manifest states it."""

from dataclasses import dataclass
from typing import Final

GREY_SQUARE: Final = "grey-square"
"""The one preprocessing that exists; :func:`orthanc_al.imaging.preprocess.preprocess` defines it."""

KNOWN_PREPROCESSING: Final = frozenset({(GREY_SQUARE, 1)})
"""Name and version of each preprocessing that this program can do."""


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
    """

    name: str = GREY_SQUARE
    version: int = 1
    size: int = 128
    low_percentile: float = 1.0
    high_percentile: float = 99.0

    @property
    def known(self) -> bool:
        """Whether this program can do it."""
        return (self.name, self.version) in KNOWN_PREPROCESSING
