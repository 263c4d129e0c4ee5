"""The shipped package on real radiographs that come as DICOM: pixels mean what they meant in training."""

from pathlib import Path

import numpy as np
import pytest

from orthanc_al.inference import Models, load_package
from orthanc_al.score import score_images
from tests.conftest import ROOT
from tests.support.radiographs import radiographs

PACKAGE = ROOT / "models" / "cxr-pneumonia"


@pytest.mark.needs_data
def test_wrapped_radiographs_are_ranked_as_their_files_are_labelled(data: Path, tmp_path: Path):
    # Most of these films were in the factory's training: this holds the way of the pixels through DICOM (CR,
    # DX, MONOCHROME1, 12 bits) to what training saw, and says nothing of how good the model is.
    package = load_package(PACKAGE)
    model = Models().get(package.folder, package.ref)
    labels, logits, distances = [], [], []
    for film in radiographs(data, 24):
        (scored,) = score_images(film.save(tmp_path), "0" * 32, model)
        labels.append(film.label)
        logits.append(float(scored.score.logits[0]))
        distances.append(float(package.contents.domain.ratio(scored.score.embedding[np.newaxis])[0]))
    present, absent = (np.array(logits)[np.array(labels) == value] for value in (1, 0))
    assert np.mean(present[:, np.newaxis] > absent) > 0.95
    assert np.mean(np.array(distances) <= 1.0) > 0.9
