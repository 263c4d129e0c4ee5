"""Studies that flow through a site, and whether each that was acknowledged arrived as it was."""

import hashlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import httpx
import numpy as np
from pydicom import dcmread

from orthanc_al.dicom import Peer
from orthanc_al.dicom.sender import send_files
from orthanc_al.errors import PeerError
from orthanc_al.ledger import deliveries
from orthanc_al.ledger import waiting as work
from orthanc_al.ledger.deliveries import DeliveryState
from orthanc_al.pipeline import LEARNER_STEPS
from tests.support.radiographs import wrap
from tests.support.site import Site, StoreSCP, data_set_bytes

SR = "SR"
_STORESCU_SECONDS = 20


def films(folder: Path, count: int, seed: int = 7, size: int = 256, first: int = 0) -> list[Path]:
    """Films of noise, ``size`` squared bytes each: what they show does not matter here."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(first, first + count):
        pixels = cv2.GaussianBlur(rng.integers(0, 256, (size, size), dtype=np.uint8), (0, 0), 3)
        paths.append(folder / f"{number:04d}.dcm")
        wrap(pixels, number).save_as(paths[-1], enforce_file_format=True)
    return paths


class Modality(threading.Thread):
    """Sends each film until it is acknowledged, as a modality does, every other one by DCMTK's storescu.

    Parameters
    ----------
    port
        Of the listener.
    films
        What it sends, one association each.
    pause
        Seconds between two films.
    """

    def __init__(self, port: int, films: Sequence[Path], pause: float = 0.2) -> None:
        super().__init__(daemon=True)  # a test that failed must not wait for it for ever
        self._port = port
        self._films = films
        self._pause = pause
        self._given_up = threading.Event()
        self.acknowledged: list[Path] = []
        self.tries = 0

    def run(self) -> None:
        """Send all of them."""
        for number, film in enumerate(self._films):
            while not self._given_up.is_set() and not self._sent(film, by_dcmtk=number % 2 == 1):
                time.sleep(0.1)
            time.sleep(self._pause)

    def give_up(self) -> None:
        """Send nothing more."""
        self._given_up.set()

    def _sent(self, film: Path, *, by_dcmtk: bool) -> bool:
        self.tries += 1
        taken = storescu(self._port, film) if by_dcmtk else status(self._port, film) == 0
        if taken:
            self.acknowledged.append(film)
        return taken


def status(port: int, film: Path) -> int | None:
    """Send a film and return the status of the answer, None where there was none."""
    peer = Peer("us", "ORTHANC_AL", "127.0.0.1", port)
    try:
        return send_files([film], peer, "MODALITY").results[0].status
    except PeerError:
        return None


def storescu(port: int, film: Path) -> bool:
    """Send a film with DCMTK; return whether the answer was 0x0000, by what it says and not by its exit."""
    program = shutil.which("storescu")
    assert program is not None
    command = [program, "-v", "-R", "-xs", "-aet", "MODALITY", "-aec", "ORTHANC_AL", "127.0.0.1", str(port)]
    try:
        said = subprocess.run(
            [*command, str(film)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_STORESCU_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return "Received Store Response (Success)" in said.stdout + said.stderr


def uid_of(film: Path) -> str:
    """Return a film's SOP Instance UID."""
    return str(dcmread(film, stop_before_pixels=True).SOPInstanceUID)


def uids_at(pacs: StoreSCP, prefix: str = "") -> dict[str, Path]:
    """Return what a storescp has, by SOP Instance UID (it names files MODALITY.UID)."""
    found = (path for path in pacs.files() if path.name.startswith(prefix))
    return {path.name.partition(".")[2]: path for path in found}


def altered(sent: Iterable[Path], pacs: StoreSCP) -> list[str]:
    """Return which films are not at the PACS byte for byte, and how."""
    there = uids_at(pacs)
    found = []
    for film in sent:
        uid = uid_of(film)
        if uid not in there:
            found.append(f"{film.name} is missing at {pacs.ae_title}")
        elif digest(there[uid]) != digest(film):
            found.append(f"{film.name} is not the same at {pacs.ae_title}")
    return found


def digest(path: Path) -> str:
    """Return the digest of a Part 10 file's data set."""
    return hashlib.sha256(data_set_bytes(path)).hexdigest()


def is_idle(site: Site) -> bool:
    """Whether nothing waits to be delivered, and no work but the learner's is left."""
    with site.ledger() as ledger, ledger.read() as connection:
        waits = any(state is DeliveryState.WAITING for _, state in deliveries.counts(connection))
        works = any(
            state != "quarantined" and step not in LEARNER_STEPS for step, state in work.counts(connection)
        )
    return not waits and not works


def waiting(site: Site, destination: str) -> int:
    """Return how many deliveries wait for a destination."""
    with site.ledger() as ledger, ledger.read() as connection:
        return deliveries.counts(connection).get((destination, DeliveryState.WAITING), 0)


def problems(site: Site, *but: str) -> list[str]:
    """Return what doctor calls a problem, without those about ``but``."""
    said = json.loads(site.cli("doctor", "--json", check=False).stdout)
    return [
        f"{one['subject']}: {one['text']}"
        for one in said
        if one["verdict"] == "problem" and not any(one["subject"].startswith(word) for word in but)
    ]


def fetched(site: Site, path: str) -> httpx.Response:
    """Return what the page or the API answers."""
    return httpx.get(f"http://127.0.0.1:{site.web_port}{path}", timeout=20)


def loose_files(site: Site) -> list[str]:
    """Return what is in the spool and neither an instance's file nor one that waits, empty, to become one."""
    spool = site.folder / "var" / "spool"
    return [path.name for path in spool.glob("??/*") if path.suffix != ".dcm"] + [
        path.name for path in spool.glob("ready/*") if path.stat().st_size
    ]


def reports_at(pacs: StoreSCP) -> list[str]:
    """Return the Study Instance UID of each report at the PACS, one for each object."""
    found = (dcmread(path, stop_before_pixels=True) for path in uids_at(pacs, SR).values())
    return sorted(str(report.StudyInstanceUID) for report in found)
