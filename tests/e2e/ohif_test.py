"""The radiologist's side beside an Orthanc alone: in the viewer that she has, and on the worklist page.

Films are sent to Orthanc and nowhere else; the gateway takes them from there, without any routing, and
orders them there. OHIF, as npm ships it, opens them in a real browser with our report. A reader signs by
the toolbar, relabels the model's rectangle and saves it, or signs on the page; the next night learns from
all of it.
"""

import io
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright
from pydicom import Dataset, dcmread
from sqlalchemy import select, update

from orthanc_al.demo import demo_datasets
from orthanc_al.ledger import schema
from orthanc_al.observe import now
from tests.support.docs_picture import keep_picture
from tests.support.ohif import Ohif, fetch
from tests.support.orthanc import DICOMWEB, Orthanc
from tests.support.site import Site, peer, storescu, wait_until

pytestmark = [
    pytest.mark.needs_dcmtk,
    pytest.mark.needs_dicom3tools,
    pytest.mark.needs_orthanc,
    pytest.mark.needs_browser,
    pytest.mark.slow,
]

STUDIES = 5
FIRST = 3  # of the demo's films: probable, improbable and foreign ones, four of them with a region
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
THEIR_SERVER = "https://d14fa38qiwhyfd.cloudfront.net/dicomweb"  # of the configuration as npm has it
OHIF_SECONDS = 90_000  # milliseconds: two cores draw in software, and others use them as well


class Room:
    """A gateway, an Orthanc with DICOMweb, OHIF before it, and what is known of each."""

    def __init__(self, site: Site, orthanc: Orthanc, viewer: Ohif) -> None:
        self.site = site
        self.orthanc = orthanc
        self.viewer = viewer

    def worklist(self) -> list[dict[str, Any]]:
        """The worklist in reading order, by the API."""
        answer = httpx.get(f"http://127.0.0.1:{self.site.web_port}/api/v1/worklist", timeout=30)
        found: list[dict[str, Any]] = answer.raise_for_status().json()["studies"]
        return found

    def reads(self, uid: str) -> list[dict[str, Any]]:
        """What was read of a study, by the API."""
        answer = httpx.get(f"http://127.0.0.1:{self.site.web_port}/api/v1/studies/{uid}", timeout=30)
        found: list[dict[str, Any]] = answer.raise_for_status().json()["reads"]
        return found

    def reports(self, uid: str) -> list[Dataset]:
        """The structured reports of a study that Orthanc has."""
        found = [dcmread(io.BytesIO(content)) for content in self.orthanc.instances().values()]
        return [one for one in found if one.Modality == "SR" and one.StudyInstanceUID == uid]

    def url(self, uid: str) -> str:
        """Where OHIF opens a study."""
        return f"{self.viewer.url}/viewer?StudyInstanceUIDs={uid}"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    folder = tmp_path_factory.mktemp("room")
    films = [folder / f"{number}.dcm" for number in range(STUDIES)]
    for film, data_set in zip(films, islice(demo_datasets(now()), FIRST, None), strict=False):
        data_set.save_as(film, enforce_file_format=True)
    with Orthanc(folder / "orthanc", settings=DICOMWEB) as orthanc:
        site = Site(
            folder / "site",
            [peer("orthanc", orthanc.ae_title, orthanc.dicom_port, "results")],
            {
                "orthanc": {"url": orthanc.url, "watch": True},
                "review": {"audit_fraction": 0.0, "budget_per_day": 20, "expected_per_day": 20},
            },
        )
        site.start()
        try:
            storescu(orthanc.dicom_port, films, called=orthanc.ae_title)
            with Ohif(folder / "viewer", orthanc.url, f"http://127.0.0.1:{site.web_port}") as viewer:
                room = Room(site, orthanc, viewer)
                wait_until(lambda: _reported(room), 180, lambda: f"not all were reported: {site.log[-2000:]}")
                yield room
        finally:
            status = site.stop()
        assert status == 0


def _reported(room: Room) -> bool:
    entries = room.worklist()
    return len(entries) == STUDIES and all(room.reports(one["study_instance_uid"]) for one in entries)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(viewport={"width": 1440, "height": 900})
    opened.set_default_timeout(OHIF_SECONDS)
    yield opened
    opened.close()


def opened(context: BrowserContext, room: Room, uid: str) -> Page:
    """Return OHIF with a study on the screen."""
    page = context.new_page()
    page.on("dialog", lambda dialog: dialog.accept("Brandt, Karin"))
    page.goto(room.url(uid))
    is_shown(page)
    return page


def is_shown(page: Page) -> None:
    """Wait until the image is drawn: its window is told in the corner."""
    overlay = page.locator('[data-cy="viewport-overlay-bottom-left"]')
    expect(overlay.get_by_text("W:")).to_be_visible(timeout=OHIF_SECONDS)


def button(page: Page, value: str) -> Locator:
    """Return a button of our toolbar."""
    return page.locator(f'[data-cy="orthanc-al-pneumonia-{value}-btn"]')


def valid(report: Dataset, folder: Path) -> None:
    """Assert that dciodvfy finds no error in a report."""
    path = folder / f"{report.SOPInstanceUID}.dcm"
    report.save_as(path, enforce_file_format=True)
    told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False, timeout=60)
    lines = (told.stdout + told.stderr).splitlines()
    assert lines
    assert [line for line in lines if line.startswith("Error")] == []


def test_orthanc_has_the_order_of_the_worklist(room: Room) -> None:
    there = wait_until(lambda: _order(room), 60, "Orthanc has no order")
    read_by = [there[one["study_instance_uid"]] for one in room.worklist()]
    assert len(read_by) == STUDIES
    assert read_by == sorted(read_by)


def test_the_viewers_server_lets_nobody_delete_nor_sign_from_elsewhere(room: Room) -> None:
    uid = room.worklist()[0]["study_instance_uid"]
    study = f"{room.viewer.url}/dicom-web/studies/{uid}"
    assert httpx.delete(study, timeout=30).status_code == 403
    assert httpx.get(f"{room.viewer.url}/dicom-web/servers", timeout=30).status_code == 404
    foreign = {"sec-fetch-site": "cross-site", "x-orthanc-al": "1"}
    read = f"{room.viewer.url}/al/api/v1/studies/{uid}/reads"
    assert httpx.post(read, json={"value": "absent"}, headers=foreign, timeout=30).status_code == 403
    page = httpx.get(room.url(uid), timeout=30)
    assert page.headers["content-security-policy"] == "frame-ancestors 'self'"
    assert httpx.get(study + "/series", timeout=30).json() != []
    assert room.reads(uid) == []


def test_one_click_signs_the_study_and_opens_the_next(
    room: Room, context: BrowserContext, tmp_path: Path
) -> None:
    first, second, *_ = room.worklist()
    uid, after = first["study_instance_uid"], second["study_instance_uid"]
    page = opened(context, room, uid)
    page.locator('[data-cy="orthanc-al-again-btn"]').click()
    told = f"{first['why']}; uncertainty {first['result']['std']:.2f}"
    expect(page.get_by_text(told).first).to_be_visible()  # finding, probability, uncertainty in words
    button(page, "present").dblclick()  # one read, however often it is clicked
    expect(page.get_by_text("Signed by Brandt, Karin.").first).to_be_visible()
    page.wait_for_url(f"**StudyInstanceUIDs={after}")
    is_shown(page)
    wait_until(lambda: len(room.reports(uid)) == 2, 60, "the verified report is not at Orthanc")
    [ai, read] = sorted(room.reports(uid), key=lambda one: one.VerificationFlag == "VERIFIED")
    assert "Standard deviation of the logit" in str(ai)
    assert (read.CompletionFlag, read.VerificationFlag) == ("COMPLETE", "VERIFIED")
    assert str(read.VerifyingObserverSequence[0].VerifyingObserverName) == "Brandt^Karin"
    replaced = read.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert replaced.ReferencedSOPInstanceUID == ai.SOPInstanceUID
    valid(read, tmp_path)
    page.goto(room.url(uid))  # a viewer that can't open what was signed would be worse than none
    is_shown(page)
    expect(page.get_by_text("Confirmed read")).to_be_visible()
    assert [(one["value"], one["state"]) for one in room.reads(uid)] == [("present", "counts")]
    assert uid not in [one["study_instance_uid"] for one in room.worklist()]


def test_our_report_becomes_a_rectangle_that_a_reader_relabels_and_saves(
    room: Room, context: BrowserContext, tmp_path: Path
) -> None:
    uid = next(one for one in room.worklist() if _has_region(room, one))["study_instance_uid"]
    page = opened(context, room, uid)
    page.evaluate(
        "fetch('/al/api/v1/me', {method: 'POST', body: JSON.stringify({reader: 'Aebi, Urs'}),"
        " headers: {'content-type': 'application/json', 'x-orthanc-al': '1'}})"
    )
    page.goto(room.url(uid))  # the viewer asks at its start who reads
    is_shown(page)
    hydrate(page)
    page.locator('[data-cy="orthanc-al-again-btn"]').click()
    expect(page.get_by_text("; uncertainty ").first).to_be_visible()
    keep_picture(page, "viewer", width=960)
    relabel(page, "pneumonia absent")
    save(page)
    wait_until(lambda: len(room.reports(uid)) == 2, 60, "the reader's report is not at Orthanc")
    [read] = [one for one in room.reports(uid) if one.Manufacturer != "orthanc_al"]
    [ai] = [one for one in room.reports(uid) if one.Manufacturer == "orthanc_al"]
    assert read.SeriesInstanceUID != ai.SeriesInstanceUID
    valid(read, tmp_path)
    wait_until(lambda: room.reads(uid), 60, "the watcher did not bring the reader's report")
    [said] = room.reads(uid)
    assert (said["value"], said["state"], said["reader"]) == ("absent", "counts", "Aebi^Urs")
    wait_until(lambda: uid not in [one["study_instance_uid"] for one in room.worklist()], 60)


def test_what_is_saved_without_a_label_only_echoes_the_model(room: Room, context: BrowserContext) -> None:
    uid = next(one for one in room.worklist() if _has_region(room, one))["study_instance_uid"]
    page = opened(context, room, uid)
    hydrate(page)
    save(page)
    wait_until(lambda: len(room.reports(uid)) == 2, 60, "the report is not at Orthanc")
    [echo] = [one for one in room.reports(uid) if one.Manufacturer != "orthanc_al"]
    wait_until(lambda: _looked_at(room, echo), 60, "the watcher did not bring the report")
    assert room.reads(uid) == []
    assert uid in [one["study_instance_uid"] for one in room.worklist()]


def test_what_came_since_is_put_on_the_screen_before_it_can_be_signed(
    room: Room, context: BrowserContext
) -> None:
    uid = room.worklist()[-1]["study_instance_uid"]
    page = opened(context, room, uid)
    with room.site.ledger() as ledger, ledger.write() as connection:
        here = schema.studies.c.study_instance_uid == uid
        connection.execute(update(schema.studies).where(here).values(revision=2))
    button(page, "present").click()
    button(page, "present").click()  # she insists: nothing of it is on her screen yet
    with page.expect_navigation():
        expect(page.get_by_text("look at it again, then confirm").first).to_be_visible()
    assert room.reads(uid) == []


def test_a_label_of_ohif_as_it_comes_names_nobody_and_waits_for_somebody(
    room: Room, context: BrowserContext, tmp_path: Path
) -> None:
    uid = next(one for one in room.worklist() if _has_region(room, one))["study_instance_uid"]
    before = len(room.reports(uid))
    stock = (fetch() / "app-config.js").read_text().replace(THEIR_SERVER, "/dicom-web")
    gateway = f"http://127.0.0.1:{room.site.web_port}"
    with Ohif(tmp_path / "stock", room.orthanc.url, gateway, stock) as viewer:
        page = context.new_page()
        page.goto(f"{viewer.url}/viewer?StudyInstanceUIDs={uid}")
        is_shown(page)
        page.get_by_text("Skip all").click()
        page.get_by_text("Confirm and hide").click()
        page.get_by_text("AI result, not verified").dblclick()
        page.get_by_role("button", name="Yes").click()
        page.locator('[data-cy="trackedMeasurements-btn"]').click()
        rename(page)
        page.get_by_placeholder("Enter new label").fill("No  Pneumonia")  # as people write
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
        save(page)
        wait_until(lambda: len(room.reports(uid)) == before + 1, 60, "the report is not at Orthanc")
    [said] = wait_until(lambda: room.reads(uid), 60, "the watcher did not bring the report")
    assert (said["value"], said["state"], said["reader"]) == ("absent", "waiting", "")
    page.goto(f"{gateway}/adjudication")
    expect(page.get_by_text("nobody is named")).to_be_visible()
    assert uid in [one["study_instance_uid"] for one in room.worklist()]


def test_a_read_on_the_page_leaves_for_orthanc_and_the_page_outlives_a_restart(
    room: Room, context: BrowserContext, tmp_path: Path
) -> None:
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{room.site.web_port}/")
    page.get_by_label("Your name").fill("Weiss, Hannah")
    page.get_by_label("Your name").press("Enter")
    expect(page.locator("#who")).to_contain_text("Weiss, Hannah")
    before = room.site.role_pid("web")
    room.site.kill("web")
    wait_until(lambda: room.site.role_pid("web") != before and room.site.is_ready(), 60, "no page again")
    page.locator("#stale").wait_for(state="hidden")
    page.keyboard.press("j")
    uid = (page.locator("tr:focus").get_attribute("id") or "").removeprefix("row-")
    had = len(room.reports(uid))
    page.keyboard.press("r")
    expect(page.locator("#told")).to_contain_text("Absent: pneumonia, signed by Weiss, Hannah.")
    [said] = [one for one in room.reads(uid) if one["reader"] == "Weiss^Hannah"]
    assert (said["value"], said["state"]) == ("absent", "counts")
    wait_until(lambda: len(room.reports(uid)) == had + 1, 60, "the verified report is not at Orthanc")
    [read] = [one for one in room.reports(uid) if one.VerificationFlag == "VERIFIED"]
    valid(read, tmp_path)


def test_the_next_night_learns_from_the_toolbar_the_viewer_and_the_page(room: Room) -> None:
    """The last of this file: by now one read came by each way."""
    room.site.cli("retrain", "--here")
    with room.site.ledger() as ledger, ledger.read() as connection:
        said = connection.execute(select(schema.reads).where(schema.reads.c.state == "counts")).all()
        [content] = connection.execute(select(schema.datasets.c.content)).scalars()
    assert {one.reader: one.value for one in said} == {
        "Brandt^Karin": "present",
        "Aebi^Urs": "absent",
        "Weiss^Hannah": "absent",
    }
    assert {case["study"]: case["present"] for case in content["cases"]} == {
        one.study_instance_uid: one.value == "present" for one in said
    }


def hydrate(page: Page) -> None:
    """Open our report: OHIF makes a measurement of it."""
    page.get_by_text("AI result, not verified").dblclick()
    page.locator('[data-cy="trackedMeasurements-btn"]').click()
    expect(page.locator('[data-cy="data-row-title"]').first).to_have_text("Pneumonia", timeout=OHIF_SECONDS)


def relabel(page: Page, label: str) -> None:
    """Give the measurement one of the labels that our configuration offers."""
    rename(page)
    page.get_by_role("dialog").get_by_text(label).click()
    expect(page.locator('[data-cy="data-row-title"]').first).to_have_text(label)


def rename(page: Page) -> None:
    """Ask OHIF for another label."""
    page.locator('[data-cy="data-row"]').first.hover()
    page.locator('[data-cy="actionsMenuTrigger"]').first.click()
    page.get_by_text("Rename").first.click()


def save(page: Page) -> None:
    """Save the measurements as OHIF does."""
    page.get_by_text("Create SR").click()
    page.get_by_role("button", name="Save").click()


def _looked_at(room: Room, report: Dataset) -> bool:
    answer = httpx.get(
        f"http://127.0.0.1:{room.site.web_port}/api/v1/studies/{report.StudyInstanceUID}", timeout=30
    )
    return any(
        one["sop_instance_uid"] == report.SOPInstanceUID and one["kind"] for one in answer.json()["instances"]
    )


def _order(room: Room) -> dict[str, int]:
    """Return when each study is to be read, as Orthanc has it; nothing before it has all."""
    found = {}
    for study in room.orthanc.get("/studies?expand"):
        metadata = room.orthanc.get(f"/studies/{study['ID']}/metadata?expand")
        if "al-read-by" in metadata:
            found[study["MainDicomTags"]["StudyInstanceUID"]] = int(metadata["al-read-by"])
    return found if len(found) == STUDIES else {}


def _has_region(room: Room, entry: dict[str, Any]) -> bool:
    return "POLYLINE" in str(room.reports(entry["study_instance_uid"])[0])
