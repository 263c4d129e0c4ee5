"""The whole way of a study with real parts: storescu, our service, storescp and Orthanc."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.support.orthanc import Orthanc
from tests.support.radiographs import radiographs
from tests.support.site import Site, StoreSCP, data_set_bytes, free_port, peer, storescu, wait_until

pytestmark = [pytest.mark.needs_data, pytest.mark.needs_dcmtk, pytest.mark.needs_orthanc, pytest.mark.slow]

STUDIES = 16
SR = "1.2.840.10008.5.1.4.1.1.88.34"  # Comprehensive 3D SR
KOS = "1.2.840.10008.5.1.4.1.1.88.59"


@pytest.fixture(scope="module")
def films(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Full-size radiographs as CR and DX files."""
    folder = tmp_path_factory.mktemp("films")
    paths = []
    for number, film in enumerate(radiographs(data, STUDIES)):
        paths.append(folder / f"{number:02d}.dcm")
        film.dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


class Hospital:
    """A PACS (storescp), an Orthanc and our service between them and a modality."""

    def __init__(self, folder: Path, orthanc: Orthanc) -> None:
        self.pacs = StoreSCP(folder / "pacs")
        self.orthanc = orthanc
        self.site = Site(
            folder / "site",
            [
                peer("modality", "MODALITY", free_port(), "source"),
                peer("reader", "READER", free_port(), "source"),
                peer("pacs", "PACS", self.pacs.port, "destination", "results"),
                peer("orthanc", orthanc.ae_title, orthanc.dicom_port, "destination", "results"),
            ],
            {
                "orthanc": {"url": orthanc.url},
                "review": {"budget_per_day": 16, "audit_fraction": 0.25, "expected_per_day": 16},
            },
        )
        self.site.fix_draws("whole way")

    def received(self) -> dict[str, Path]:
        """Return what the PACS has, by SOP Instance UID."""
        found = {}
        for path in self.pacs.files():
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            found[str(header.SOPInstanceUID)] = path
        return found


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory, films: list[Path]) -> Iterator[Hospital]:
    folder = tmp_path_factory.mktemp("hospital")
    with Orthanc(folder / "orthanc", modalities={}) as orthanc:
        hospital = Hospital(folder, orthanc)
        hospital.pacs.start()
        hospital.site.start()
        storescu(hospital.site.port, films, calling="MODALITY")
        wait_until(lambda: _settled(hospital.site), 180, "the studies were not all scored")
        yield hospital
        assert hospital.site.stop() == 0
        hospital.pacs.stop()


def _settled(site: Site) -> bool:
    entries = site.worklist()
    waiting = site.cli("doctor", "--json", check=False).stdout
    return (
        len(entries) == STUDIES
        and all(e["state"] != "arriving" for e in entries)
        and '"waiting' not in waiting
    )


def test_what_goes_out_is_what_came_in_byte_for_byte(hospital: Hospital, films: list[Path]) -> None:
    received = wait_until(lambda: (r := hospital.received()) and len(r) >= STUDIES and r)
    for film in films:
        uid = str(pydicom.dcmread(film, stop_before_pixels=True).SOPInstanceUID)
        assert data_set_bytes(received[uid]) == data_set_bytes(film)


def test_the_other_destination_gets_every_study_too(hospital: Hospital) -> None:
    wait_until(lambda: len(hospital.orthanc.get("/studies")) == STUDIES)


def test_the_worklist_is_in_reading_order_with_different_tiers(hospital: Hospital) -> None:
    entries = hospital.site.worklist()
    order = [entry["read_by"] for entry in entries]
    assert order == sorted(order)
    assert len({entry["tier"] for entry in entries}) >= 2
    assert "low" not in {entry["tier"] for entry in entries}  # the site's audit has to earn it


def _objects(hospital: Hospital, sop_class: str) -> list[Any]:
    read = (pydicom.dcmread(path) for path in hospital.received().values())
    return [data_set for data_set in read if data_set.SOPClassUID == sop_class]


def test_every_study_that_may_show_a_score_has_one_report(hospital: Hospital) -> None:
    shown = {e["study_instance_uid"] for e in hospital.site.worklist() if e["result"]}
    reports = wait_until(lambda: (found := _objects(hospital, SR)) and len(found) >= len(shown) and found)
    assert sorted(str(report.StudyInstanceUID) for report in reports) == sorted(shown)
    assert 0 < len(shown) < STUDIES  # blind audit cases show none


@pytest.mark.needs_dicom3tools
def test_reports_and_key_objects_hold_to_the_standard(hospital: Hospital, tmp_path: Path) -> None:
    asked = {e["study_instance_uid"] for e in hospital.site.worklist() if e["asked"]}
    assert asked
    wait_until(lambda: len(_objects(hospital, KOS)) >= len(asked))
    assert {str(key_object.StudyInstanceUID) for key_object in _objects(hospital, KOS)} == asked
    for number, report in enumerate(_objects(hospital, SR) + _objects(hospital, KOS)):
        path = tmp_path / f"{number}.dcm"
        report.save_as(path, enforce_file_format=True)
        verdict = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in verdict.stdout + verdict.stderr


def test_the_read_by_time_of_every_study_is_in_orthancs_metadata(hospital: Hospital) -> None:
    def written() -> bool:
        entries = {e["study_instance_uid"]: e for e in hospital.site.worklist()}
        for one in hospital.orthanc.get("/studies"):
            uid = hospital.orthanc.get(f"/studies/{one}")["MainDicomTags"]["StudyInstanceUID"]
            metadata = hospital.orthanc.get(f"/studies/{one}/metadata?expand")
            if str(metadata.get("al-read-by", metadata.get("4200"))).lstrip("0") != str(
                entries[uid]["read_by"]
            ):
                return False
        return True

    wait_until(written)


def test_doctor_finds_nothing_lost(hospital: Hospital) -> None:
    done = hospital.site.cli("doctor")
    assert "problem" not in done.stdout


def test_no_patient_data_is_in_the_log(hospital: Hospital) -> None:
    assert "Test^0" not in hospital.site.log
    assert "T00001" not in hospital.site.log
