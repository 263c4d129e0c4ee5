"""Where a slice lies in the patient (PS3.3 C.7.6.2): plain data, as the ledger keeps it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlicePlace:
    """Place of a slice, in the patient's coordinates (mm).

    Attributes
    ----------
    position
        Image Position (Patient) (0020,0032): centre of the first pixel.
    orientation
        Image Orientation (Patient) (0020,0037): direction cosines of a row, then of a column.
    rows, columns
        Size of the slice, in pixels.
    """

    position: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]
    rows: int
    columns: int

    @property
    def normal(self) -> tuple[float, float, float]:
        """Direction that the slices are stacked along: row x column."""
        a, b, c, x, y, z = self.orientation
        return (b * z - c * y, c * x - a * z, a * y - b * x)

    def along(self, normal: tuple[float, float, float]) -> float:
        """Return the distance of the slice along a direction, in mm."""
        return sum(one * other for one, other in zip(self.position, normal, strict=True))
