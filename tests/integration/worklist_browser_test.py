"""The worklist page in a real browser: it refreshes itself, tells when it is old, and asks nobody else."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import update

from orthanc_al.ledger import Ledger, schema
from orthanc_al.web import create_app
from tests.support.worklist_ledger import NOW, fill, keep_alive

pytestmark = pytest.mark.needs_browser

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Served:
    """The application behind a socket of loopback, until it is stopped."""

    def __init__(self, ledger: Ledger, spool: Path) -> None:
        app = create_app(
            ledger, spool=spool, viewer_template="http://127.0.0.1:9/{study_instance_uid}", clock=lambda: NOW
        )
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()


@pytest.fixture
def served(ledger: Ledger, tmp_path: Path) -> Iterator[Served]:
    fill(ledger, 40)
    keep_alive(ledger)
    server = Served(ledger, tmp_path)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    yield opened
    opened.close()


def test_page_takes_up_a_change_and_keeps_place_and_focus(served: Served, ledger: Ledger, page: Page) -> None:
    page.goto(f"{served.url}/?tier=review")
    link = page.locator('a[id="study-2.25.3"]')
    link.focus()
    before = page.evaluate("scrollY")
    with ledger.write() as connection:
        here = schema.studies.c.study_instance_uid == "2.25.3"
        connection.execute(update(schema.studies).where(here).values(patient_name="New^Name"))
    expect(link).to_have_text("New, Name", timeout=15_000)
    expect(link).to_be_focused()
    assert page.evaluate("scrollY") == before


def test_page_tells_when_it_is_old_and_when_it_is_new_again(served: Served, page: Page) -> None:
    page.goto(served.url)
    expect(page.locator("#stale")).to_be_hidden()
    page.route("**/live*", lambda route: route.abort())
    expect(page.locator("#stale")).to_contain_text("does not answer", timeout=15_000)
    page.unroute("**/live*")
    expect(page.locator("#stale")).to_be_hidden(timeout=15_000)


def test_one_click_stops_scoring_and_one_lets_it_go_on(served: Served, page: Page) -> None:
    page.goto(served.url)
    page.get_by_role("button", name="Pause scoring").click()
    expect(page.get_by_text("Scoring is paused.")).to_be_visible()
    page.get_by_role("button", name="Resume scoring").click()
    expect(page.get_by_text("Scoring is paused.")).to_be_hidden()


@pytest.mark.parametrize("path", ["/", "/studies/2.25.2", "/models"])
def test_nothing_is_asked_of_others_and_nothing_breaks_the_policy(
    served: Served, page: Page, path: str
) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(served.url + path)
    page.wait_for_load_state("networkidle")
    assert [url for url in asked if not url.startswith(served.url)] == []
    assert complaints == []


@pytest.mark.parametrize("path", ["/", "/studies/2.25.2", "/models"])
@pytest.mark.parametrize("width", [1440, 720, 390])
def test_enlarged_or_narrow_pages_do_not_scroll_sideways(
    served: Served, page: Page, path: str, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(served.url + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_keyboard_reaches_studies_and_viewer(served: Served, page: Page) -> None:
    page.goto(served.url)
    reached = []
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.name || ''"))
    assert {"q", "modality", "listed", "tier-high", "pause"} <= set(reached)
    assert any(one.startswith("study-") for one in reached)
    assert any(one.startswith("open-") for one in reached)


def test_page_goes_on_without_a_script(served: Served, browser: Browser, ledger: Ledger) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(served.url)
    assert page.locator("tbody tr").count() == 39
    assert "http-equiv" in page.content()
    page.get_by_label("Modality").select_option("CT")
    page.get_by_role("button", name="Filter").click()
    assert page.locator("tbody tr").count() == 1
    context.close()
