"""The worklist page in a real browser: it refreshes itself, tells when it is old, and asks nobody else."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import select, update

from orthanc_al.domain import ReadValue
from orthanc_al.ledger import Ledger, schema, statements
from orthanc_al.ledger.statements import Statement
from orthanc_al.web import create_app
from tests.support.docs_picture import keep_picture
from tests.support.worklist_ledger import NOW, PNEUMONIA, fill, keep_alive, put_films

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


PATHS = ["/", "/studies/2.25.2", "/review", "/adjudication", "/models", "/deliveries", "/monitor", "/reader"]


# Pages whose picture is in docs/.
PICTURES = {
    "/": "worklist",
    "/studies/2.25.2": "study",
    "/review": "asked",
    "/adjudication": "adjudication",
    "/models": "models",
    "/deliveries": "deliveries",
    "/monitor": "monitor",
}


class Served:
    """The application behind a socket of loopback, until it is stopped."""

    def __init__(self, ledger: Ledger, spool: Path) -> None:
        self._stopping = threading.Event()
        app = create_app(
            ledger,
            spool=spool,
            site_name="Example Hospital",
            viewer_template="http://127.0.0.1:9/{study_instance_uid}",
            budget_per_day=20,
            known_findings=lambda _: (PNEUMONIA,),
            stopping=self._stopping,
            clock=lambda: NOW,
        )
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()


@pytest.fixture
def served(ledger: Ledger, tmp_path: Path) -> Iterator[Served]:
    fill(ledger, 40)
    keep_alive(ledger)
    put_films(ledger, tmp_path)
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


def test_nothing_is_asked_of_others_and_nothing_breaks_the_policy(served: Served, page: Page) -> None:
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for path in PATHS:
        page.goto(served.url + path)
        expect(page.locator("footer")).to_be_visible()
        page.wait_for_timeout(200)  # for pictures and the stream of news, which never ends
    assert [url for url in asked if not url.startswith(served.url)] == []
    assert complaints == []
    assert any("/picture" in url for url in asked)
    assert any("/live/events" in url for url in asked)


def test_enlarged_or_narrow_pages_do_not_scroll_sideways(served: Served, page: Page) -> None:
    for path in PATHS:
        page.goto(served.url + path)
        for width in (1440, 720, 390):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)


# Of each line: cells whose content runs out of them, and buttons that are beyond the window.
_SPILT = """() => [
  ...[...document.querySelectorAll("tbody td")].filter((one) => one.scrollWidth > one.clientWidth + 1
    && getComputedStyle(one).display !== "table-cell"),
  ...[...document.querySelectorAll("tbody button")].filter(
    (one) => one.getBoundingClientRect().right > innerWidth && !one.closest("details:not([open])")),
].map((one) => one.className + ": " + one.textContent.trim())"""


def test_enlarged_lines_keep_their_words_apart_and_their_buttons_in_sight(served: Served, page: Page) -> None:
    for path in ("/", "/review"):
        page.goto(served.url + path)
        for width in (1440, 960, 720, 390):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate(_SPILT) == [], (path, width)


def test_small_print_stands_below_and_not_against_what_it_explains(served: Served, page: Page) -> None:
    page.goto(f"{served.url}/review")
    place = page.locator(".due").first
    above, below = place.locator("time").bounding_box(), place.locator("small").bounding_box()
    assert above is not None
    assert below is not None
    assert below["y"] >= above["y"] + above["height"] - 1


def test_keyboard_reaches_studies_and_viewer(served: Served, page: Page) -> None:
    page.goto(served.url)
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.name || ''"))
    assert {"name", "q", "modality", "listed", "tier-high", "pause"} <= set(reached)
    assert any(one.startswith("study-") for one in reached)
    assert any(one.startswith("open-") for one in reached)


def _name(page: Page, name: str = "Karin Brandt") -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Your name").press("Enter")
    expect(page.locator("#who")).to_contain_text("Reading: Brandt, Karin")
    # The page is a new one, whose keys work when its script has run: a key before that is nobody's.
    expect(page.locator("#help")).to_be_visible()


def test_a_key_signs_the_marked_study_and_another_puts_it_back(
    served: Served, ledger: Ledger, page: Page
) -> None:
    page.goto(served.url)
    page.keyboard.press("j")
    page.keyboard.press("c")
    expect(page.locator("#told")).to_contain_text("Say first who reads")
    _name(page)
    for key in "jjk":
        page.keyboard.press(key)
    first = page.locator("tbody tr").first
    expect(first).to_be_focused()
    uid = first.get_attribute("id")
    second = page.locator("tbody tr").nth(1).get_attribute("id")
    page.keyboard.press("r")
    expect(page.locator("#told")).to_contain_text("Absent: pneumonia, signed by Brandt, Karin.")
    expect(page.locator(f'[id="{uid}"]')).to_have_count(0)
    expect(page.locator(f'[id="{second}"]')).to_be_focused()  # the next one is marked
    with ledger.read() as connection:
        [read] = connection.execute(select(schema.reads)).all()
    assert (read.reader, read.value, read.state) == ("Brandt^Karin", "absent", "counts")
    page.keyboard.press("z")
    expect(page.locator(f'[id="{uid}"]')).to_be_visible()
    page.keyboard.press("j")
    marked = page.locator("tr:focus").get_attribute("id")
    page.keyboard.press("d")
    expect(page.locator("#told")).to_contain_text("Off the worklist, by Brandt, Karin.")
    expect(page.locator(f'[id="{marked}"]')).to_have_count(0)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.get_by_label("Find")).to_be_focused()
    page.keyboard.press("c")  # a letter of a name signs nothing
    with ledger.read() as connection:
        assert len(connection.execute(select(schema.reads)).all()) == 1


def test_a_click_twice_is_one_read_and_a_changed_study_is_told(
    served: Served, ledger: Ledger, page: Page
) -> None:
    page.goto(served.url)
    _name(page)
    row = page.locator("tbody tr").nth(2)
    uid = (row.get_attribute("id") or "").removeprefix("row-")
    page.locator(f'[id="row-{uid}"] button.present').dblclick()
    expect(page.locator(f'[id="row-{uid}"]')).to_have_count(0)
    page.route("**/live?**", lambda route: route.abort())
    page.route("**/live", lambda route: route.abort())
    other = (page.locator("tbody tr").first.get_attribute("id") or "").removeprefix("row-")
    with ledger.write() as connection:
        here = schema.studies.c.study_instance_uid == other
        connection.execute(update(schema.studies).where(here).values(revision=2))
    page.locator(f'[id="row-{other}"] button.absent').click()
    expect(page.locator("#told")).to_contain_text("look at it again, then confirm. Nothing was written.")
    with ledger.read() as connection:
        assert [read.study_instance_uid for read in connection.execute(select(schema.reads))] == [uid]


def test_a_read_of_another_reader_takes_the_study_off_this_screen_at_once(
    served: Served, ledger: Ledger, page: Page
) -> None:
    page.goto(served.url)
    row = page.locator('[id="row-2.25.2"]')
    film = row.locator("img").element_handle()
    expect(row).to_be_visible()
    page.wait_for_timeout(1500)  # the stream is open and has looked once
    with ledger.write() as connection:
        said = Statement("2.25.1", "pneumonia", ReadValue.PRESENT, 1, "Weiss^Hannah", "asked")
        statements.confirm(connection, said, NOW)
    expect(page.locator('[id="row-2.25.1"]')).to_have_count(0, timeout=4_000)
    assert film is not None
    assert film.evaluate("film => film.isConnected"), "its neighbour's picture was not asked for again"


def test_reading_works_without_a_script(served: Served, browser: Browser, ledger: Ledger) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(served.url)
    page.locator('[id="row-2.25.1"]').get_by_role("button", name="Present").click()
    page.locator("main").get_by_label("Your name").fill("Brandt, Karin")
    page.get_by_role("button", name="Keep it and go on").click()
    page.locator('[id="row-2.25.1"]').get_by_role("button", name="Present").click()
    expect(page.locator("#told")).to_contain_text("signed by Brandt, Karin")
    expect(page.locator('[id="row-2.25.1"]')).to_have_count(0)
    page.get_by_role("button", name="Put it back").click()
    expect(page.locator('[id="row-2.25.1"]')).to_be_visible()
    context.close()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_serious(served: Served, ledger: Ledger, browser: Browser, theme: str) -> None:
    with ledger.write() as connection:
        for reader, value in (("Weiss^Hannah", ReadValue.PRESENT), ("Novak^Pavel", ReadValue.ABSENT)):
            said = Statement("2.25.1", "pneumonia", value, 1, reader, "asked", "left lower lobe")
            statements.confirm(connection, said, NOW)
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=theme)
    page = context.new_page()
    found = []
    for path in PATHS:
        page.goto(served.url + path)
        expect(page.locator("footer")).to_be_visible()
        found += [
            (path, one["id"], one["impact"], [node["target"] for node in one["nodes"]][:3])
            for one in Axe().run(page).response["violations"]
        ]
        if theme == "dark" and path in PICTURES:
            keep_picture(page, PICTURES[path])
    assert [one for one in found if one[2] in ("serious", "critical")] == []
    context.close()


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
