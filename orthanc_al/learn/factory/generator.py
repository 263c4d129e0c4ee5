"""Films of nobody: a statistical model of shape and appearance, fitted on the training films and sampled.

Cootes, Edwards & Taylor, Active appearance models, IEEE PAMI 23:681 (2001), with dense optical flow
(Kroeger et al., ECCV 2016) in the place of landmarks: each film is warped onto a mean film, which is made
anew from the warped films a few times over, so that ribs lie on ribs. Flow fields and warped films then
have few principal components each, and a normal distribution of these a class. A sample is a draw of
components and the grain that the components leave out.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from orthanc_al.learn.factory.dataset import FilmSet

Image = NDArray[np.float32]

SIDE: Final = 192
"""Side of the model's films in pixels."""

_FILMS_A_CLASS: Final = 450
_ROUNDS: Final = 5
_KEPT: Final = 0.75
_SHAPE_SIDE: Final = 32
_SHAPE_COMPONENTS: Final = 40
_TEXTURE_COMPONENTS: Final = 150
_SPREAD: Final = 0.85
_MARGIN: Final = 8


@dataclass(frozen=True, slots=True)
class Basis:
    """Principal components of rows.

    Attributes
    ----------
    mean
        Shape (p,).
    components
        Shape (k, p), orthonormal.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]

    def rows(self, coefficients: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the row of coefficients (k,), shape (p,)."""
        return np.asarray(coefficients @ self.components + self.mean, np.float32)


@dataclass(frozen=True, slots=True)
class FilmGenerator:
    """Class-conditional distribution of films.

    Attributes
    ----------
    shape, texture
        Bases of the flow fields and of the films warped onto the mean.
    means
        Mean coefficients of the classes 0 and 1, shape (2, k), shape's first.
    roots
        Cholesky factors of their covariances, shape (2, k, k).
    grain
        Standard deviation of what the components leave out, shape (SIDE, SIDE).
    """

    shape: Basis
    texture: Basis
    means: NDArray[np.float64]
    roots: NDArray[np.float64]
    grain: Image

    def sample(self, severity: float, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return a film of nobody.

        Parameters
        ----------
        severity
            0 draws from the films without the finding, 1 from those with it, and between the two from
            a distribution between theirs.
        size
            Height and width of the film.
        """
        mean = (1.0 - severity) * self.means[0] + severity * self.means[1]
        root = self.roots[int(severity >= 0.5)]
        drawn = mean + _SPREAD * (root @ rng.standard_normal(mean.size))
        flow, texture = np.split(drawn, [len(self.shape.components)])
        field = self.shape.rows(flow).reshape(_SHAPE_SIDE, _SHAPE_SIDE, 2)
        flow_field = np.asarray(cv2.resize(field, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.float32)
        flat = self.texture.rows(texture).reshape(SIDE, SIDE) + self._grain(rng)
        film = _warp(flat.astype(np.float32), _inverse(flow_field))
        inner = film[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
        large = cv2.resize(inner, size[::-1], interpolation=cv2.INTER_CUBIC)
        noise = 0.008 * rng.standard_normal(size)
        return np.asarray(np.clip((large * 0.94 + 0.02 + noise) * 255.0 + 0.5, 0.0, 255.0), np.uint8)

    def _grain(self, rng: np.random.Generator) -> Image:
        noise = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE)), (0, 0), 0.8)
        return np.asarray(0.4 * self.grain * noise / noise.std(), np.float32)


def fit_generator(films: FilmSet, seed: int) -> FilmGenerator:
    """Return the generator of the films of both classes (labels 0 and 1)."""
    rng = np.random.default_rng((seed, 1))
    rows = [np.flatnonzero(films.labels == label) for label in (0, 1)]
    chosen = np.concatenate([rng.permutation(group)[:_FILMS_A_CLASS] for group in rows])
    images = np.stack([_normal(films.images[row]) for row in chosen])
    flows, warped, kept = _register(images)
    labels = films.labels[chosen][kept]
    fields = np.stack(
        [cv2.resize(flow, (_SHAPE_SIDE, _SHAPE_SIDE), interpolation=cv2.INTER_AREA) for flow in flows]
    )
    shape, shape_part = _principal(fields.reshape(len(labels), -1), _SHAPE_COMPONENTS)
    flat = warped.reshape(len(labels), -1)
    texture, texture_part = _principal(flat, _TEXTURE_COMPONENTS)
    left_out = flat - (texture_part @ texture.components + texture.mean)
    coefficients = np.hstack([shape_part, texture_part]).astype(np.float64)
    moments = [_normal_distribution(coefficients[labels == label]) for label in (0, 1)]
    means, roots = (np.stack(part) for part in zip(*moments, strict=True))
    return FilmGenerator(shape, texture, means, roots, left_out.std(0).reshape(SIDE, SIDE))


def _normal(film: NDArray[np.uint8]) -> Image:
    """Return the film at the model's size, its percentiles 1 and 99 at 0 and 1."""
    small = cv2.resize(film, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low, high = np.percentile(small, (1.0, 99.0))
    return np.asarray(np.clip((small - low) / max(high - low, 1.0), 0.0, 1.0), np.float32)


def _register(
    images: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return flow fields and warped films of those that fit the common mean best, and which these are."""
    flow_of = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    local = cv2.createCLAHE(2.0, (4, 4))
    bytes_of = [local.apply(_levels(image)) for image in images]
    nothing = np.zeros((SIDE, SIDE, 2), np.float32)
    mean = images.mean(0)
    for turn in range(_ROUNDS):
        target, smooth = local.apply(_levels(mean)), 6.0 - 0.7 * turn
        # Each its own array: OpenCV writes into the one that it is given, and begins with what is in it.
        found = [flow_of.calc(target, levels, nothing.copy()) for levels in bytes_of]
        flows = np.stack([np.asarray(cv2.GaussianBlur(flow, (0, 0), smooth), np.float32) for flow in found])
        warped = np.stack([_warp(image, flow) for image, flow in zip(images, flows, strict=True)])
        fit = _correlation(warped, warped.mean(0))
        kept = fit >= np.quantile(fit, 1.0 - _KEPT)
        middle = np.median(warped[kept], axis=0)
        sharp = middle + 0.7 * (middle - cv2.GaussianBlur(middle, (0, 0), 3.0))
        mean = _warp(np.asarray(sharp, np.float32), -flows[kept].mean(0))
    return flows[kept], warped[kept], kept


def _correlation(rows: NDArray[np.float32], reference: Image) -> NDArray[np.float64]:
    """Return the correlation of each image (n, h, w) with the reference, shape (n,)."""
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    flat = flat - flat.mean(1, keepdims=True)
    towards = reference.ravel() - reference.mean()
    return np.asarray(flat @ towards / (np.linalg.norm(flat, axis=1) * np.linalg.norm(towards)))


def _principal(rows: NDArray[np.float32], count: int) -> tuple[Basis, NDArray[np.float32]]:
    """Return the basis of the first components, at most ``count``, and the rows' coefficients (n, k)."""
    mean = rows.mean(0)
    left, values, right = np.linalg.svd(rows - mean, full_matrices=False)
    return Basis(mean, right[:count]), (left * values)[:, :count]


def _normal_distribution(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and Cholesky factor of the covariance of rows (n, k)."""
    covariance = np.asarray(np.cov(rows.T), np.float64)
    ridge = 1e-6 * float(np.trace(covariance)) / len(covariance)
    return rows.mean(0), np.asarray(np.linalg.cholesky(covariance + ridge * np.eye(len(covariance))))


def _levels(image: Image) -> NDArray[np.uint8]:
    return np.asarray(np.clip(image, 0.0, 1.0) * 255.0, np.uint8)


def _warp(image: Image, flow: NDArray[np.float32]) -> Image:
    """Return the image as seen at each place plus ``flow`` (h, w, 2: x and y)."""
    height, width = image.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = cv2.remap(
        image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(moved, np.float32)


def _inverse(flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the field that undoes ``flow``: the fixed point of inverse(p) = -flow(p + inverse(p))."""
    inverse = -flow
    for _ in range(8):
        inverse = -np.dstack([_warp(np.ascontiguousarray(flow[..., axis]), inverse) for axis in (0, 1)])
    return inverse
