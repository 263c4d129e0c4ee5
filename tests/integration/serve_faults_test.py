"""What `serve` does where something is wrong from the start: studies pass on, and the fault is told."""

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from orthanc_al.demo import demo_datasets
from orthanc_al.observe import now
from tests.support.site import (
    PACKAGE,
    Site,
    StoreSCP,
    data_set_bytes,
    free_port,
    listens,
    peer,
    storescu,
    wait_until,
)


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[StoreSCP]:
    """An archive that keeps bytes as they come."""
    archive = StoreSCP(tmp_path / "pacs")
    archive.start()
    yield archive
    archive.stop()


def _site(folder: Path, pacs_port: int, package: Path) -> Site:
    return Site(
        folder,
        [
            peer("modality", "MODALITY", free_port(), "source"),
            peer("pacs", "PACS", pacs_port, "destination"),
        ],
        {"models": [{"package": str(package), "modality": ["CR", "DX"]}], "review": {"budget_per_day": 0}},
    )


def _reasons(site: Site) -> list[str]:
    try:
        answer = httpx.get(f"http://127.0.0.1:{site.web_port}/readyz", timeout=5).json()
    except httpx.TransportError:
        return []
    reasons: list[str] = answer["reasons"]
    return reasons


@pytest.mark.needs_dcmtk
@pytest.mark.slow
@pytest.mark.parametrize("fault", ["missing", "altered"])
def test_a_package_that_does_not_hold_stops_scoring_alone(tmp_path: Path, pacs: StoreSCP, fault: str) -> None:
    package = tmp_path / "package"
    if fault == "altered":
        shutil.copytree(PACKAGE, package)
        with (package / "model.onnx").open("ab") as file:
            file.write(b"x")
    film = tmp_path / "film.dcm"
    next(iter(demo_datasets(now()))).save_as(film, enforce_file_format=True)
    site = _site(tmp_path / "site", pacs.port, package)
    with pytest.raises(AssertionError, match="did not start"):
        site.start(seconds=0)  # it never counts as ready
    try:
        wait_until(lambda: listens(site.port), 60, "the service does not take studies in")
        storescu(site.port, [film])
        (received,) = wait_until(pacs.files, 30, "the study was not passed on")
        assert data_set_bytes(received) == data_set_bytes(film)
        wait_until(lambda: any(str(package) in text for text in _reasons(site)), 60, "nobody says why")
        wait_until(lambda: [e["state"] for e in site.worklist()] == ["complete"], 30, "it was not assembled")
        examined = site.cli("doctor", "--json", check=False)
        assert examined.returncode == 1
        problems = {one["subject"] for one in json.loads(examined.stdout) if one["verdict"] == "problem"}
        assert problems == {"package package", "process worker"}

        shutil.rmtree(package, ignore_errors=True)
        shutil.copytree(PACKAGE, package)
        site.kill("worker")  # or half a minute later by itself
        wait_until(lambda: [e["state"] for e in site.worklist()] == ["scored"], 60, lambda: site.log[-2000:])
        wait_until(site.is_ready, 30, "it is not ready though all is mended")
    finally:
        assert site.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("key", ["dicom.port", "web.port"])
def test_a_taken_port_ends_serve_with_a_text_that_helps(tmp_path: Path, key: str) -> None:
    site = _site(tmp_path, free_port(), PACKAGE)
    with socket.create_server(("127.0.0.1", site.port if key == "dicom.port" else site.web_port)):
        done = site.cli("serve", check=False)
    assert done.returncode == 2
    assert key in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("role", ["listener", "web"])
def test_a_process_alone_says_that_its_port_is_taken_and_is_not_ready(tmp_path: Path, role: str) -> None:
    site = _site(tmp_path, free_port(), PACKAGE)
    with socket.create_server(("127.0.0.1", site.port if role == "listener" else site.web_port)):
        done = site.cli("serve", "--role", role, check=False)
        examined = json.loads(site.cli("doctor", "--json", check=False).stdout)
    assert done.returncode == 2
    assert "nothing can listen at 127.0.0.1" in done.stderr.replace("\n", " ")
    found = {one["subject"]: one for one in examined}[f"process {role}"]
    assert found["verdict"] == "problem"
    assert "nothing can listen" in found["text"]
