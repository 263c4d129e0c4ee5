"""The factory's data: no patient in two parts, nothing read in silence that is not there."""

from pathlib import Path

import numpy as np
import pytest

from orthanc_al.errors import ConfigurationError
from orthanc_al.learn.factory.dataset import SHARES, Part, load_films, part_of
from tests.support.factory import made_up_films, write_films


def test_each_patient_is_in_one_part_only() -> None:
    films = made_up_films(200)
    of_part = {part: set(films.part(part, 3).patients) for part in Part}
    assert sum(len(patients) for patients in of_part.values()) == len(set(films.patients))
    assert sum(len(films.part(part, 3)) for part in Part) == len(films)


def test_the_parts_have_their_shares_and_another_seed_is_another_split() -> None:
    patients = [f"patient {number}" for number in range(4000)]
    parts = [part_of(patient, 0) for patient in patients]
    for part, share in SHARES.items():
        assert np.mean([p is part for p in parts]) == pytest.approx(share, abs=0.015)
    assert parts != [part_of(patient, 1) for patient in patients]


def test_films_are_read_as_they_were_written_without_duplicates(tmp_path: Path) -> None:
    films = made_up_films(12)
    folder = write_films(films, tmp_path)
    lines = (folder / "manifest.csv").read_text().splitlines()
    lines[5] += "0.png"
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    read = load_films(folder)
    kept = np.arange(12) != 4
    np.testing.assert_array_equal(read.images, films.images[kept])
    assert read.digest() == films.rows(kept).digest() != films.digest()


def test_a_folder_without_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"manifest\.csv is missing"):
        load_films(tmp_path)


def test_a_missing_image_is_told(tmp_path: Path) -> None:
    folder = write_films(made_up_films(4), tmp_path)
    (folder / "2.png").unlink()
    with pytest.raises(ConfigurationError, match=r"2\.png is missing"):
        load_films(folder)


def test_images_of_two_sizes_are_told(tmp_path: Path) -> None:
    folder = write_films(made_up_films(4), tmp_path)
    other = made_up_films(1)
    write_films(
        type(other)(other.images[:, :32], other.labels, other.subtypes, other.patients), tmp_path / "o"
    )
    (tmp_path / "o" / "0.png").replace(folder / "1.png")
    with pytest.raises(ConfigurationError, match="not all of one size"):
        load_films(folder)
