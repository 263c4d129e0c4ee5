"""The plugin inside a real Orthanc: its routes, its outbox over restarts, the old Explorer in a browser."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from playwright.sync_api import Page, expect, sync_playwright

from orthanc_al.domain import ReadValue, StudyState
from orthanc_al.ledger import Ledger, studies, waiting, watched
from orthanc_al.orthanc import plugin
from orthanc_al.orthanc.plugin.orthanc_al_plugin import orthanc_id_of
from orthanc_al.review.vocabulary import known_findings
from orthanc_al.web import create_app
from tests.support.orthanc import PLUGINS, Orthanc
from tests.support.radiographs import wrap
from tests.support.reading_room import ReadingRoom, reads_of
from tests.support.site import free_port, wait_until

pytestmark = pytest.mark.needs_orthanc
SCRIPT = Path(plugin.__file__).with_name("orthanc_al_plugin.py")
PIXELS = np.full((16, 16), 100, np.uint8)
FILMS = [wrap(PIXELS, number) for number in (1, 2)]
UIDS = [str(film.StudyInstanceUID) for film in FILMS]
IDS = [orthanc_id_of(str(film.PatientID), str(film.StudyInstanceUID)) for film in FILMS]


class Service:
    """Our pages and API on a port of their own; Orthanc reaches them through its namespace."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.port = free_port()
        self._app = create_app(ledger, spool=folder, known_findings=known_findings)
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread()

    def start(self) -> None:
        config = uvicorn.Config(self._app, host="127.0.0.1", port=self.port, log_level="warning")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        wait_until(lambda: self._server is not None and self._server.started)

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
            self._thread.join()


@pytest.fixture
def room(ledger: Ledger, tmp_path: Path) -> ReadingRoom:
    made = ReadingRoom(ledger, tmp_path)
    for film, uid in zip(FILMS, UIDS, strict=True):
        made.take_in(film)
        made.score(uid)
        made.select(uid)
    return made


@pytest.fixture
def service(room: ReadingRoom, tmp_path: Path) -> Iterator[Service]:
    made = Service(room.ledger, tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def orthanc(service: Service, tmp_path: Path) -> Iterator[Orthanc]:
    script = tmp_path / "orthanc" / SCRIPT.name
    settings = {
        "Plugins": [str(PLUGINS / "libOrthancPython.so")],
        "PythonScript": str(script),
        "PythonVerbose": False,
        "OrthancAl": {"Url": f"http://127.0.0.1:{service.port}"},
    }
    made = Orthanc(tmp_path / "orthanc", settings=settings, modalities={"SERVICE": ("NONE", service.port)})
    (made.folder / SCRIPT.name).write_bytes(SCRIPT.read_bytes())
    with made:
        for film in FILMS:
            path = tmp_path / "film.dcm"
            film.save_as(path, enforce_file_format=True)
            made.post("/instances", path.read_bytes())
        yield made


def click(orthanc: Orthanc, study: str, action: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{orthanc.url}/al/studies/{study}/{action}", json=body, timeout=30)


def test_clicks_end_as_reads_of_the_service_and_survive_its_absence(
    room: ReadingRoom, service: Service, orthanc: Orthanc
) -> None:
    order = orthanc.get("/al/order")
    assert [study["ID"] for study in order["Studies"]] == IDS
    assert set(orthanc.get("/studies")) == set(IDS)  # what they are called is worked out, not asked
    assert orthanc.get("/al/status")["Trouble"] == ""
    wait_until(lambda: _hint(room), 20, "no hint came")

    nobody = click(orthanc, IDS[0], "confirm")
    assert (nobody.status_code, nobody.json()["State"]) == (400, "refused")
    foreign = httpx.post(
        f"{orthanc.url}/al/studies/{IDS[0]}/confirm", json={}, headers={"origin": "http://evil.example"}
    )
    assert foreign.status_code == 400
    assert click(orthanc, "00000000-0-0", "confirm", reader="Brandt^Karin").status_code == 400

    done = click(orthanc, IDS[0], "confirm", reader="Brandt, Karin")
    assert (done.status_code, done.json()["State"]) == (200, "done")
    stale = click(orthanc, IDS[1], "reject", reader="Brandt, Karin", revision=7)
    assert stale.status_code == 409
    assert orthanc.get("/al/status")["Refused"][0]["study"] == UIDS[1]

    service.stop()
    queued = click(orthanc, UIDS[1], "undecided", reader="Brandt, Karin")
    assert (queued.status_code, queued.json()["State"]) == (202, "queued")
    assert [study["ID"] for study in orthanc.get("/al/order")["Studies"]]  # the last that is known
    assert orthanc.get("/al/order")["Stale"] != ""
    orthanc.kill()
    orthanc.start()
    assert orthanc.get("/al/status")["Waiting"] == 1
    service.start()
    wait_until(lambda: orthanc.get("/al/status")["Waiting"] == 0, 30, "the click was lost")
    with room.ledger.read() as connection:
        said = [(read.value, read.reader) for uid in UIDS for read in reads_of(connection, uid)]
        states = [study.state for uid in UIDS if (study := studies.get(connection, uid))]
    assert said == [(ReadValue.PRESENT, "Brandt^Karin"), (ReadValue.UNDETERMINED, "Brandt^Karin")]
    assert states == [StudyState.READ, StudyState.READ]

    assert click(orthanc, IDS[0], "rescore").status_code == 200
    with room.ledger.read() as connection:
        assert waiting.counts(connection)["score", "ready"] == 1


@pytest.mark.needs_browser
def test_the_old_explorer_shows_the_order_and_its_buttons_work(
    room: ReadingRoom, orthanc: Orthanc, tmp_path: Path
) -> None:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept("Brandt, Karin"))
        page.goto(f"{orthanc.url}/app/explorer.html#find-studies")
        column = page.locator("#all-studies .al-read-by")
        expect(column).to_have_count(2, timeout=20_000)
        expect(column.first).to_contain_text("read by")
        assert _listed(page) == IDS
        # ORTHANC_AL_SCREENSHOTS=docs renews the pictures of docs/orthanc.md.
        pictures = Path(os.environ.get("ORTHANC_AL_SCREENSHOTS", tmp_path))
        page.screenshot(path=pictures / "orthanc-explorer.png")
        page.goto(f"{orthanc.url}/app/explorer.html#study?uuid={IDS[0]}")
        expect(page.locator("#al-place")).to_contain_text("read by", timeout=20_000)
        page.locator("#al-confirm").click()
        expect(page.locator("#al-answer")).to_contain_text("confirm: done", timeout=20_000)
        page.screenshot(path=pictures / "orthanc-explorer-study.png")
        expect(page.locator("#al-place")).to_have_text("off the worklist", timeout=20_000)
        assert complaints == []
        browser.close()
    with room.ledger.read() as connection:
        [read] = reads_of(connection, UIDS[0])
    assert (read.value, read.reader) == (ReadValue.PRESENT, "Brandt^Karin")


def _listed(page: Page) -> list[str]:
    links = page.locator("#all-studies li a[href*='uuid=']")
    return [str(link.get_attribute("href")).split("uuid=")[1] for link in links.all()]


def _hint(room: ReadingRoom) -> str:
    with room.ledger.read() as connection:
        return watched.hint(connection)
