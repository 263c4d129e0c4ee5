"""The factory's films beside a site's: prepared as the package does it, and never more than three to one."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from orthanc_al.errors import ConfigurationError
from orthanc_al.imaging.preprocess import preprocess
from orthanc_al.inference.package import load_package
from orthanc_al.learn.factory.dataset import Part, load_films
from orthanc_al.learn.finetune.factory_films import factory_examples
from tests.support.tiny_package import tiny_package

FILMS = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(4)
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "subtype", "patient", "dup_of"])
        for number in range(FILMS):
            sick = number % 3 == 0
            cv2.imwrite(str(tmp_path / f"{number}.png"), random.integers(0, 255, (48, 48), np.uint8))
            rows.writerow([f"{number}.png", int(sick), "virus" if sick else "normal", f"p{number}", ""])
    return tmp_path


def test_films_of_the_training_part_are_prepared_as_the_package_does_it(folder: Path) -> None:
    manifest = tiny_package(folder / "package").manifest
    trained = load_films(folder).part(Part.TRAIN, 0)
    found = factory_examples(folder, manifest, share_of=FILMS)
    assert len(found.labels) == len(trained) < FILMS  # what calibrated and judged the factory is left out
    wanted = preprocess(trained.images[0], manifest.preprocessing).astype(np.float16)
    assert np.array_equal(found.inputs[0], wanted)
    assert np.array_equal(found.labels[:, 0], trained.labels)
    assert not found.validation.any()  # the site alone tells when to stop


def test_a_site_s_few_films_are_not_lost_among_them(folder: Path) -> None:
    manifest = tiny_package(folder / "package").manifest
    found = factory_examples(folder, manifest, share_of=5)
    assert len(found.labels) == 15
    again = factory_examples(folder, manifest, share_of=5)
    assert found.digest() == again.digest()


def test_a_package_of_several_findings_and_a_folder_without_films_are_told(folder: Path) -> None:
    two = tiny_package(folder / "two", findings=("pneumonia", "effusion"))
    with pytest.raises(ConfigurationError, match="one label"):
        factory_examples(folder, two.manifest, share_of=5)
    one = load_package(tiny_package(folder / "one").folder)
    with pytest.raises(ConfigurationError, match="manifest"):
        factory_examples(folder / "nowhere", one.manifest, share_of=5)
