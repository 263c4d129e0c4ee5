"""How times, people and figures are said."""

from zoneinfo import ZoneInfo

import pytest

from orthanc_al.ledger import Ledger, worklist
from orthanc_al.ledger.worklist import Entry
from orthanc_al.web import words
from tests.support.worklist_ledger import NOW, Case, add

ZURICH = ZoneInfo("Europe/Zurich")
DAY = 86400


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(NOW, "16:13"), (NOW - DAY, "20 Sep 16:13"), (NOW - 365 * DAY, "21 Sep 2025 16:13")],
)
def test_time_of_day_is_the_sites_and_has_a_date_where_it_is_not_today(seconds: float, said: str) -> None:
    assert words.clock_time(seconds, ZURICH, NOW) == said


def test_machines_get_the_offset_too() -> None:
    assert words.machine_time(NOW, ZURICH) == "2026-09-21T16:13:20+02:00"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "under 1 min"),
        (59.9, "under 1 min"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 00 min"),
        (86399, "23 h 59 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_duration_is_said_in_its_two_largest_units(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("read_by", "said"),
    [
        (110, words.Due("in 10 min", overdue=False, soon=True)),
        (115, words.Due("in 15 min", overdue=False, soon=False)),
        (100, words.Due("now", overdue=False, soon=True)),
        (95, words.Due("overdue 5 min", overdue=True, soon=False)),
    ],
)
def test_read_by_time_is_said_against_the_clock(read_by: int, said: words.Due) -> None:
    assert words.due(read_by, 100 * 60) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("Doe^Jane^M^^PhD", "Doe, Jane M PhD"),
        ("DOE", "DOE"),
        ("^Jane", "Jane"),
        ("", ""),
        ("^^^^", ""),
        ("=山田^太郎=やまだ^たろう", "山田, 太郎"),
        ("Yamada^Tarou=山田^太郎", "Yamada, Tarou"),
    ],
)
def test_names_are_written_as_people_write_them(value: str, said: str) -> None:
    assert words.person_name(value) == said


@pytest.mark.parametrize(
    ("birth_date", "said"),
    [
        ("20260921", "0 d"),
        ("20260901", "20 d"),
        ("20260721", "2 mo"),
        ("20240922", "23 mo"),
        ("20240921", "2 y"),
        ("19560922", "69 y"),
        ("20270101", ""),
        ("1956", ""),
        ("19561341", ""),
        ("", ""),
    ],
)
def test_age_is_said_in_the_unit_that_matters(birth_date: str, said: str) -> None:
    assert words.age(birth_date, NOW, ZURICH) == said


@pytest.mark.parametrize(
    ("probability", "said"),
    [(0.0, "<1 %"), (0.009, "<1 %"), (0.46, "46 %"), (0.991, ">99 %"), (1, ">99 %")],
)
def test_no_probability_is_said_to_be_0_or_100(probability: float, said: str) -> None:
    assert words.percent(probability) == said


@pytest.mark.parametrize(("count", "said"), [(512_000, "512 kB"), (7_812_440, "7.8 MB")])
def test_sizes_are_decimal(count: int, said: str) -> None:
    assert words.size(count) == said


def test_viewer_link_is_quoted_and_left_out_where_a_value_is_missing(entry: Entry) -> None:
    template = "http://viewer/?a={accession_number}"
    assert words.viewer_link(template, entry) == "http://viewer/?a=A%2026%26x%3D1"
    assert words.viewer_link("http://viewer/{orthanc_id}", entry) == ""
    assert words.viewer_link("", entry) == ""


@pytest.fixture
def entry(ledger: Ledger) -> Entry:
    with ledger.write() as connection:
        add(connection, Case("2.25.1"), accession_number="A 26&x=1")
        found = worklist.get(connection, "2.25.1")
    assert found is not None
    return found
