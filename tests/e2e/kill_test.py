"""kill -9 of every process at random moments while studies flow: nothing acknowledged is lost or doubled."""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest

from orthanc_al.dicom import Peer
from orthanc_al.dicom.sender import send_files
from orthanc_al.errors import PeerError
from orthanc_al.ledger import instances
from tests.support.radiographs import wrap
from tests.support.site import Site, StoreSCP, data_set_bytes, free_port, peer, wait_until

pytestmark = [pytest.mark.needs_dcmtk, pytest.mark.slow, pytest.mark.timeout(600)]

STUDIES = 60
ROUNDS = 2
ROLES = ("listener", "forwarder", "worker", "web", "learner")
SR = "1.2.840.10008.5.1.4.1.1.88.34"


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    """Films of noise: what they show does not matter here."""
    rng = np.random.default_rng(7)
    folder = tmp_path / "films"
    folder.mkdir()
    paths = []
    for number in range(STUDIES):
        pixels = cv2.GaussianBlur(rng.integers(0, 256, (256, 256), dtype=np.uint8), (0, 0), 3)
        paths.append(folder / f"{number:03d}.dcm")
        wrap(pixels, number).save_as(paths[-1], enforce_file_format=True)
    return paths


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Site, StoreSCP]]:
    pacs = StoreSCP(tmp_path / "pacs")
    pacs.start()
    site = Site(
        tmp_path / "site",
        [
            peer("modality", "MODALITY", free_port(), "source"),
            peer("pacs", "PACS", pacs.port, "destination", "results"),
        ],
    )
    site.fix_draws("kill")
    site.start()
    yield site, pacs
    site.stop()
    pacs.stop()


class Modality(threading.Thread):
    """Sends each film until it is acknowledged, as a modality does, and notes when it first was."""

    def __init__(self, site: Site, films: list[Path]) -> None:
        super().__init__(daemon=True)  # a test that failed must not wait for it for ever
        self._peer = Peer("us", "ORTHANC_AL", "127.0.0.1", site.port)
        self._films = films
        self.acknowledged: list[Path] = []
        self.refused_connections = 0

    def run(self) -> None:
        for film in self._films:
            while film not in self.acknowledged:
                try:
                    if send_files([film], self._peer, "MODALITY").delivered:
                        self.acknowledged.append(film)
                except PeerError:
                    self.refused_connections += 1
                    time.sleep(0.2)
            time.sleep(0.2)


def test_nothing_acknowledged_is_lost_or_doubled_though_every_process_is_killed(
    site: tuple[Site, StoreSCP], films: list[Path]
) -> None:
    ours, pacs = site
    rng = random.Random(11)
    modality = Modality(ours, films)
    modality.start()
    killed = []
    for role in [role for _ in range(ROUNDS) for role in rng.sample(ROLES, len(ROLES))]:
        time.sleep(rng.uniform(0.3, 2.0))
        ours.kill(role)
        killed.append(role)
    modality.join(300)
    assert len(modality.acknowledged) == STUDIES
    assert set(killed) == set(ROLES)
    _assert_all_arrived_unaltered(ours, pacs, films)
    _assert_one_report_a_study(ours, pacs)
    assert "problem" not in wait_until(lambda: _doctor(ours), 60, "doctor finds problems")


def _doctor(site: Site) -> str:
    said = site.cli("doctor", check=False)
    return said.stdout if said.returncode == 0 else ""


def _received(pacs: StoreSCP) -> dict[str, Path]:
    return {
        str(pydicom.dcmread(path, stop_before_pixels=True, force=True).SOPInstanceUID): path
        for path in pacs.files()
    }


def _assert_all_arrived_unaltered(site: Site, pacs: StoreSCP, films: list[Path]) -> None:
    sent = {str(pydicom.dcmread(film, stop_before_pixels=True).SOPInstanceUID): film for film in films}
    wait_until(lambda: set(sent) <= set(_received(pacs)), 120, "not all films are at the PACS")
    received = _received(pacs)
    for uid, film in sent.items():
        assert data_set_bytes(received[uid]) == data_set_bytes(film)
        with site.ledger() as ledger, ledger.read() as connection:
            assert instances.of_sop(connection, uid)


def _assert_one_report_a_study(site: Site, pacs: StoreSCP) -> None:
    """Each study that may show a score has one SR, under one UID, however often its job ran."""

    def settled() -> bool:
        entries = site.worklist()
        return len(entries) == STUDIES and all(entry["state"] in ("scored", "complete") for entry in entries)

    # A job whose worker was killed waits for the end of its lease.
    wait_until(settled, 400, "not all studies were scored")
    shown = sorted(entry["study_instance_uid"] for entry in site.worklist() if entry["result"])

    def reported() -> list[str]:
        found = (pydicom.dcmread(path, force=True) for path in _received(pacs).values())
        return sorted(str(report.StudyInstanceUID) for report in found if report.SOPClassUID == SR)

    wait_until(lambda: len(reported()) >= len(shown), 120, "not all reports are at the PACS")
    assert reported() == shown
