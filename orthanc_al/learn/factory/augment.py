"""Films as another scanner, another radiographer and another child would have given them.

What differs between sites is mostly exposure, contrast curve, collimation, sharpness and noise, so
training draws these at random. The order is the one of the imaging chain: geometry, then contrast
curve, exposure, inhomogeneous field, unsharpness and quantum noise.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_LEVELS = np.arange(256, dtype=np.float32) / 255.0


@dataclass(frozen=True, slots=True)
class ScannerShift:
    """One scanner's look, relative to the scanner that the films came from.

    Attributes
    ----------
    zoom
        Above 1 crops the centre, below 1 shows a dark margin.
    gamma
        Exponent of the grey levels in [0, 1].
    gain
        Factor after gamma; what exceeds 1 is clipped, as in an over-exposed film.
    vignette
        Loss of brightness in the corners, as a share.
    blur
        Standard deviation of the unsharpness in pixels.
    noise
        Standard deviation of the noise, 1 = full range.
    """

    zoom: float = 1.0
    gamma: float = 1.0
    gain: float = 1.0
    vignette: float = 0.0
    blur: float = 0.0
    noise: float = 0.0

    def apply(self, film: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the film (shape (h, w), 0 to 255) as this scanner would have given it."""
        return self.expose(_warp(film, np.array([[self.zoom, 0.0], [0.0, self.zoom]]), (0.0, 0.0)), rng)

    def expose(self, film: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the film with all of the look but the geometry."""
        curve = np.clip(_LEVELS**self.gamma * self.gain, 0.0, 1.0)
        image = cv2.LUT(film, curve)
        if self.vignette > 0:
            image = image * (1.0 - self.vignette * _corner_distance(film.shape[0], film.shape[1]))
        if self.blur > 0:
            image = cv2.GaussianBlur(image, (0, 0), self.blur)
        if self.noise > 0:
            image = image + self.noise * rng.standard_normal(film.shape, np.float32)
        return np.asarray(np.clip(image * 255.0 + 0.5, 0.0, 255.0), np.uint8)


SHIFT_S2 = ScannerShift(zoom=1.15, gamma=1.9, gain=1.4, vignette=0.4, blur=1.2, noise=0.06)
"""A hard, noisy, cropping scanner: what a second site may look like."""

SHIFT_S4 = ScannerShift(zoom=1.0, gamma=0.5, gain=1.6, vignette=0.3, blur=1.0, noise=0.12)
"""An over-exposing scanner: two thirds of the grey levels are clipped."""


def random_film(film: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a film (shape (h, w), 0 to 255) as training sees it: other geometry, look and erased parts."""
    moved = _random_geometry(film, rng)
    return _erase(_random_shift(rng).expose(moved, rng), rng)


def _random_geometry(film: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Zoom, aspect, rotation of some degrees, translation, and left and right exchanged.

    A mirrored chest is no chest of this world, but pneumonia is the same on either side.
    """
    zoom, aspect = np.exp(rng.uniform(-0.16, 0.26)), np.exp(rng.uniform(-0.12, 0.12))
    angle = np.deg2rad(rng.uniform(-12.0, 12.0))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    matrix = turn @ np.diag([mirror * zoom * aspect, zoom / aspect])
    height, width = film.shape
    return _warp(film, matrix, (rng.uniform(-0.07, 0.07) * width, rng.uniform(-0.07, 0.07) * height))


def _random_shift(rng: np.random.Generator) -> ScannerShift:
    """Draw a scanner; one film in four keeps its own exposure."""
    if rng.random() < 0.25:
        return ScannerShift(blur=max(0.0, rng.uniform(-1.0, 1.0)))
    return ScannerShift(
        gamma=float(np.exp(rng.uniform(-0.8, 0.75))),
        gain=float(np.exp(rng.uniform(-0.3, 0.5))),
        vignette=max(0.0, rng.uniform(-0.3, 0.45)),
        blur=max(0.0, rng.uniform(-0.8, 1.6)),
        noise=max(0.0, rng.uniform(-0.05, 0.12)),
    )


def _erase(film: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cover up to three rectangles, so that no marker, tube or single patch decides alone."""
    height, width = film.shape
    for _ in range(rng.integers(0, 4)):
        tall, wide = (rng.uniform(0.06, 0.3, 2) * (height, width)).astype(int)
        top, left = rng.integers(0, height - tall), rng.integers(0, width - wide)
        film[top : top + tall, left : left + wide] = rng.integers(0, 256)
    return film


def _warp(
    film: NDArray[np.uint8], matrix: NDArray[np.float64], move: tuple[float, float]
) -> NDArray[np.uint8]:
    """Map the film linearly about its centre; what comes from outside of it is black."""
    height, width = film.shape
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = centre + np.asarray(move) - matrix @ centre
    affine = np.column_stack([matrix, offset])
    return np.asarray(cv2.warpAffine(film, affine, (width, height), flags=cv2.INTER_LINEAR), np.uint8)


def _corner_distance(height: int, width: int) -> NDArray[np.float32]:
    """Return the squared distance from the centre, 1 in the corners; shape (height, width)."""
    y = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, np.newaxis]
    x = np.linspace(-1.0, 1.0, width, dtype=np.float32)[np.newaxis, :]
    return np.asarray((y**2 + x**2) / 2.0, np.float32)
