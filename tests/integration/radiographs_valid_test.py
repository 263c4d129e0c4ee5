"""The radiographs that other tests send are valid objects and do not give their labels away."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from orthanc_al.imaging.decode import grey_images_of
from tests.support.radiographs import radiographs


@pytest.mark.needs_data
@pytest.mark.needs_dicom3tools
def test_wrapped_radiographs_pass_dciodvfy_without_errors(data: Path, tmp_path: Path):
    for film in radiographs(data, 12):
        path = film.save(tmp_path)
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in done.stderr, done.stderr


@pytest.mark.needs_data
def test_nothing_in_a_wrapped_radiograph_gives_its_label_away(data: Path):
    films = list(radiographs(data))
    assert {film.subtype for film in films} == {"normal", "bacteria", "virus"}
    for film in films:
        header = film.dataset.to_json(suppress_invalid_tags=True, bulk_data_threshold=0).lower()
        assert not [word for word in ("pneumonia", "normal", "bacteria", "virus", ".jpeg") if word in header]
    # Neither does the way that they are wrapped.
    for wrapping in ("Modality", "PhotometricInterpretation", "BitsStored"):
        kinds = {film.dataset[wrapping].value for film in films}
        shares = [
            np.mean([film.label for film in films if film.dataset[wrapping].value == kind]) for kind in kinds
        ]
        assert max(shares) - min(shares) < 0.35


@pytest.mark.needs_data
def test_wrapped_radiographs_show_what_the_file_shows(data: Path):
    for film in radiographs(data, 4):
        (image,) = grey_images_of(film.dataset)
        assert image.pixels.std() > 0.1
