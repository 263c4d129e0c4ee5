"""The factory's radiographs beside a site's own, so that a network unlearns nothing that it knew."""

import math
from pathlib import Path

import numpy as np

from orthanc_al.errors import ConfigurationError
from orthanc_al.imaging.preprocess import preprocess
from orthanc_al.inference.manifest import Manifest
from orthanc_al.learn.factory.dataset import Part, load_films
from orthanc_al.learn.finetune.examples import Examples

_SITE_SHARE = 0.25
"""Least share of the site's films among all: else they would be lost among the factory's."""


def factory_examples(folder: Path, manifest: Manifest, *, share_of: int) -> Examples:
    """Return films of the factory's training part, preprocessed as the package does it.

    Parameters
    ----------
    folder
        As `orthanc_al.learn.factory.dataset.load_films` takes it; its one label is that of the one finding.
    share_of
        How many images the site has: at most three times as many are taken.

    Raises
    ------
    ConfigurationError
        The package has several findings, or the folder can't be read.
    """
    if len(manifest.findings) != 1:
        raise ConfigurationError(
            f"The factory's films have one label, {manifest.name} has {len(manifest.findings)} findings: "
            "fine-tune without --factory-data."
        )
    films = load_films(folder).part(Part.TRAIN, 0)
    most = math.ceil(share_of * (1.0 / _SITE_SHARE - 1.0))
    rows = np.sort(np.random.default_rng(0).permutation(len(films))[:most])
    inputs = np.stack([preprocess(films.images[row], manifest.preprocessing) for row in rows])
    return Examples(
        inputs.astype(np.float16),
        films.labels[rows].astype(np.float32)[:, np.newaxis],
        np.ones(len(rows), np.float32),
        np.zeros(len(rows), np.bool_),
    )
