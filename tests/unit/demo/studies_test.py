"""The demo's studies are valid, of children who do not exist, and don't tell what is on them."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from orthanc_al.demo import demo_datasets, demo_films

AT = 1_800_000_000.0
STUDIES = list(demo_datasets(AT))


def test_there_are_as_many_studies_as_films_each_of_its_own_patient() -> None:
    assert len(STUDIES) == len(demo_films()) == 42
    for keyword in ("StudyInstanceUID", "SOPInstanceUID", "PatientID", "AccessionNumber"):
        assert len({getattr(study, keyword) for study in STUDIES}) == 42


def test_all_that_is_on_a_film_is_in_its_pixels_whatever_their_form() -> None:
    films = {film.tobytes() for film in demo_films()}
    forms = set()
    for study in STUDIES:
        stored = study.pixel_array
        if study.PhotometricInterpretation == "MONOCHROME1":
            stored = (1 << study.BitsStored) - 1 - stored
        assert (stored >> (study.BitsStored - 8)).astype(np.uint8).tobytes() in films
        forms.add((study.Modality, study.PhotometricInterpretation, study.BitsStored))
    assert len(forms) == 8


def test_children_are_one_to_five_years_old_and_the_last_study_is_of_now() -> None:
    assert {study.PatientAge for study in STUDIES} <= {f"00{years}Y" for years in range(1, 6)}
    times = [study.StudyDate + study.StudyTime for study in STUDIES]
    assert times == sorted(times)
    assert times[-1] == "20270115080000"


def test_another_time_gives_other_studies_and_the_same_time_the_same() -> None:
    again, later = list(demo_datasets(AT)), list(demo_datasets(AT + 1.0))
    assert [s.SOPInstanceUID for s in again] == [s.SOPInstanceUID for s in STUDIES]
    assert not {s.StudyInstanceUID for s in later} & {s.StudyInstanceUID for s in STUDIES}


@pytest.mark.needs_dicom3tools
def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    for number, study in enumerate(STUDIES[:20]):
        path = tmp_path / f"{number}.dcm"
        study.save_as(path, enforce_file_format=True)
        told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        assert "Error" not in told.stdout + told.stderr
        assert dcmread(path) == study
