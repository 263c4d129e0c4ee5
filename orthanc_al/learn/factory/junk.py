"""Images that are no upright frontal chest film, and that a model must not be asked about.

Training shows some of them as a class of their own (outlier exposure: Hendrycks et al., ICLR 2019), so
that the embedding keeps what tells them apart; the out-of-distribution measure is then judged on them
and on kinds that training never showed (other modalities).
"""

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Film = NDArray[np.uint8]


def noise(film: Film, rng: np.random.Generator) -> Film:
    """Return white noise."""
    return np.asarray(rng.integers(0, 256, film.shape), np.uint8)


def black(film: Film, rng: np.random.Generator) -> Film:
    """Return an unexposed image, half of the time with the detector's noise."""
    level = rng.integers(0, 3) if rng.random() < 0.5 else 0
    return np.asarray(rng.integers(0, level + 1, film.shape), np.uint8)


def inverted(film: Film, _rng: np.random.Generator) -> Film:
    """Return the film with black and white exchanged: MONOCHROME1 taken for MONOCHROME2."""
    return np.asarray(255 - film, np.uint8)


def rotated(film: Film, rng: np.random.Generator) -> Film:
    """Return the film turned by 90, 180 or 270 degrees; ``film`` is square."""
    return np.ascontiguousarray(np.rot90(film, int(rng.integers(1, 4))))


def cropped(film: Film, rng: np.random.Generator) -> Film:
    """Return a fifth to two fifths of the film's side, enlarged."""
    height, width = film.shape
    share = rng.uniform(0.2, 0.4)
    tall, wide = int(height * share), int(width * share)
    top, left = rng.integers(0, height - tall), rng.integers(0, width - wide)
    return np.asarray(cv2.resize(film[top : top + tall, left : left + wide], (width, height)), np.uint8)


def pattern(film: Film, rng: np.random.Generator) -> Film:
    """Return a test image: clouds, stripes or ellipses, as a phantom or another body part may look."""
    draw = (_clouds, _stripes, _ellipses)[rng.integers(0, 3)]
    return np.asarray(np.clip(draw(film.shape[0], rng), 0.0, 255.0), np.uint8)


JUNK: Final[dict[str, Callable[[Film, np.random.Generator], Film]]] = {
    "noise": noise,
    "black": black,
    "inverted": inverted,
    "rotated": rotated,
    "cropped": cropped,
    "pattern": pattern,
}
"""Each kind by its name in the model card."""


def random_junk(film: Film, rng: np.random.Generator) -> Film:
    """Return an image of a random kind made from ``film``, shape (s, s), 0 to 255."""
    return list(JUNK.values())[rng.integers(0, len(JUNK))](film, rng)


def _clouds(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    coarse = rng.random(rng.integers(3, 24, 2))
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC) * 255.0)


def _stripes(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    y, x = np.mgrid[0:size, 0:size] * (2.0 * np.pi / size)
    waves = rng.uniform(1.0, 16.0, 2)
    return np.asarray(127.5 + 60.0 * (np.sign(np.sin(waves[0] * x)) + np.sin(waves[1] * y)))


def _ellipses(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    image = np.zeros((size, size))
    for _ in range(rng.integers(1, 9)):
        centre = rng.integers(0, size, 2).tolist()
        axes = rng.integers(size // 20, size // 2, 2).tolist()
        cv2.ellipse(image, centre, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(30, 255)), -1)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 6.0))))
