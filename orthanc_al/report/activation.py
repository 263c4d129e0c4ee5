"""What a picture of the class activation is made from: the film as it is read, and where the network looks.

Both are had anew from the file when a picture is wanted: most sites want none, and a feature map kept for
every film would be the largest thing in the ledger.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orthanc_al.errors import UndecodableError
from orthanc_al.imaging.decode import grey_images
from orthanc_al.imaging.field import Field
from orthanc_al.imaging.model_input import model_inputs
from orthanc_al.inference.region import class_activation
from orthanc_al.inference.running import Models
from orthanc_al.ledger.models import RegisteredModel


@dataclass(frozen=True, slots=True)
class Looked:
    """A frame and what speaks for a finding in it.

    Attributes
    ----------
    grey
        float32 in [0, 1], shape (h, w), bright means dense: full size.
    activation
        float32, shape (a, b): what each cell adds to the logit.
    field
        The part of the frame that the cells cover, in its pixels.
    """

    grey: NDArray[np.float32]
    activation: NDArray[np.float32]
    field: Field


class Activations:
    """Runs a model on one frame again, and gives where it looks.

    Parameters
    ----------
    running
        The loaded packages.
    """

    def __init__(self, running: Models) -> None:
        self._running = running

    def of(self, path: Path, frame: int, model: RegisteredModel, finding: str) -> Looked:
        """Return what a model sees in frame ``frame`` (from 1) of the Part 10 file ``path``.

        Raises
        ------
        UndecodableError
            The frame can't be decoded any more.
        PackageRefusedError, ModelError
            The model can't be run.
        """
        running = self._running.get(model.folder, model.ref)
        manifest = running.package.manifest
        names = [entry.name for entry in manifest.findings]
        seen = next((one for one in model_inputs(path, manifest.preprocessing) if one.frame == frame), None)
        shown = next((one for one in grey_images(path) if one.frame == frame), None)
        if seen is None or shown is None:
            raise UndecodableError(f"the file has no frame {frame}")
        outputs = running.session.run(seen.pixels[np.newaxis])
        weight = running.head[:, names.index(finding)]
        return Looked(shown.pixels, class_activation(outputs.feature_map[0], weight), seen.field)
