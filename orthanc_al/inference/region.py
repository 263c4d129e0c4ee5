"""Where in the image the model looks: class activation (Zhou et al., CVPR 2016) as a rectangle."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from orthanc_al.domain import Region

_SHARE: Final = 0.5
"""Share of the largest activation that a cell needs to belong to the region."""


def class_activation(feature_map: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much each cell adds to the logit, shape (h, w).

    Parameters
    ----------
    feature_map
        Of one image, shape (d, h, w).
    weight
        The finding's column of the head, shape (d,).
    """
    return np.asarray(np.tensordot(weight, feature_map, axes=1), np.float32)


def region(activation: NDArray[np.float32], rows: float, columns: float) -> Region | None:
    """Return the rectangle about the strongest connected part of an activation.

    Parameters
    ----------
    activation
        Shape (h, w).
    rows, columns
        Of what the activation covers, in pixels of the image.

    Returns
    -------
    Region or None
        In the same pixels; None where nothing speaks for the finding.
    """
    peak = np.unravel_index(int(activation.argmax()), activation.shape)
    if activation[peak] <= 0:
        return None
    parts, _ = ndimage.label(activation >= _SHARE * activation[peak])
    vertical, horizontal = ndimage.find_objects((parts == parts[peak]).astype(np.int8))[0]
    height, width = rows / activation.shape[0], columns / activation.shape[1]
    return Region(
        left=horizontal.start * width,
        top=vertical.start * height,
        right=horizontal.stop * width,
        bottom=vertical.stop * height,
    )
