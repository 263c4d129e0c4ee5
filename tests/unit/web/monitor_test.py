"""The monitor's page and API: alarms and the guarantee in words, plots, and an empty page that says why."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from orthanc_al.ledger import Ledger, monitoring
from orthanc_al.ledger.monitoring import Point
from orthanc_al.web import create_app
from orthanc_al.web.monitor import HEIGHT, WIDTH, spark
from tests.support.asgi import ask
from tests.support.monitor_points import put_points
from tests.support.worklist_ledger import NOW


@pytest.fixture
def app(ledger: Ledger, tmp_path: Path):
    return create_app(ledger, spool=tmp_path, clock=lambda: NOW)


def test_before_the_first_look_it_says_when_there_will_be_one(app) -> None:
    page = ask(app, "/monitor").text
    assert "Nothing was looked at yet" in page
    assert ask(app, "/api/v1/monitor").json() == []


def test_alarms_come_first_and_the_guarantee_is_said_in_words(app, ledger: Ledger) -> None:
    with ledger.write() as connection:
        put_points(connection, NOW)
    page = ask(app, "/monitor").text
    assert page.index("a scanner, a protocol or the patients may have changed") < page.index(
        'What "low" promises'
    )
    assert "33 are missing" in page
    assert "cxr-pneumonia, 2026-09-20" in page
    plots = re.findall(r"<svg class=\"spark\".*?</svg>", page, re.DOTALL)
    assert len(plots) == 5
    for plot in plots:
        assert ElementTree.fromstring(plot).find("polyline") is not None
    assert page.count('class="told"') == 1


def test_the_api_has_the_days_newest_first(app, ledger: Ledger) -> None:
    with ledger.write() as connection:
        put_points(connection, NOW)
    days = ask(app, "/api/v1/monitor?days=3").json()
    assert [day["day"] for day in days] == ["2026-09-20", "2026-09-19", "2026-09-18"]
    assert {point["measure"] for point in days[0]["points"] if point["alarm"]} == {"embedding_energy"}


def test_a_text_of_others_is_no_markup(app, ledger: Ledger) -> None:
    with ledger.write() as connection:
        point = Point("guarantee", 0.0, 1, "pneumonia", part="<b>CR 1", reason="of station <b>CR 1")
        monitoring.put(connection, "cxr", "2026-09-20", [point], NOW)
    page = ask(app, "/monitor").text
    assert "<b>CR 1" not in page
    assert "&lt;b&gt;CR 1" in page


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0], [0.0, 1.0, 0.5]])
def test_a_plot_stays_within_its_frame(values: list[float]) -> None:
    points = [Point("auc", value, 9, low=value - 0.1, high=value + 0.1) for value in values]
    made = spark(points)
    places = [tuple(map(float, place.split(","))) for place in f"{made.line} {made.band}".split()]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
    assert bool(made.band) == (len(values) > 1)
