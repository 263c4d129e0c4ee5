"""The API of what the monitor saw."""

from pathlib import Path

import pytest

from orthanc_al.ledger import Ledger
from orthanc_al.web import create_app
from tests.support.asgi import ask
from tests.support.monitor_points import put_points
from tests.support.worklist_ledger import NOW


@pytest.fixture
def app(ledger: Ledger, tmp_path: Path):
    return create_app(ledger, spool=tmp_path, clock=lambda: NOW)


def test_before_the_first_look_there_is_nothing(app) -> None:
    assert ask(app, "/api/v1/monitor").json() == []


def test_the_api_has_the_days_newest_first(app, ledger: Ledger) -> None:
    with ledger.write() as connection:
        put_points(connection, NOW)
    days = ask(app, "/api/v1/monitor?days=3").json()
    assert [day["day"] for day in days] == ["2026-09-20", "2026-09-19", "2026-09-18"]
    assert {point["measure"] for point in days[0]["points"] if point["alarm"]} == {"embedding_energy"}
