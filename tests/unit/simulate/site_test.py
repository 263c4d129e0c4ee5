"""The site's own room from its ledger: days, reading times, readers, and what the audit showed."""

from datetime import datetime
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from sqlalchemy import insert, update

from orthanc_al.domain import Tier
from orthanc_al.errors import ConfigurationError
from orthanc_al.ledger import Ledger, reading_room
from orthanc_al.ledger.reading_room import PlacedAudit, Signed
from orthanc_al.ledger.schema import predictions, selections
from orthanc_al.methods.queueing import FindingPoint
from orthanc_al.observe import now
from orthanc_al.service import simulating
from orthanc_al.settings import Settings
from orthanc_al.simulate import Rule, answer, by_operating_points, plots, poisson
from orthanc_al.simulate.site import days_of, population_of, readers_at_work, reading_times
from tests.support.learning_ledger import put_prediction, put_read, put_study

ZURICH = ZoneInfo("Europe/Zurich")
NOON = 1_790_000_000.0 // 86400 * 86400 + 10 * 3600  # 12:00 in Zurich in September
DAY = 86400.0


def test_only_whole_days_count_and_an_empty_one_is_a_day() -> None:
    today = datetime.fromtimestamp(NOON + 4 * DAY, ZURICH).date()
    found = days_of([NOON, NOON + DAY, NOON + DAY + 90, NOON + 3 * DAY, NOON + 4 * DAY], ZURICH, today)
    assert [day.tolist() for day in found] == [[720.0, 721.5], [], [720.0]]
    assert days_of([], ZURICH, today) == ()
    assert days_of([NOON], ZURICH, datetime.fromtimestamp(NOON, ZURICH).date()) == ()


def test_a_reading_time_is_a_gap_in_which_the_reader_had_no_reason_to_wait() -> None:
    minute = 60.0
    signed = [
        Signed("A", 100 * minute, 0.0),
        Signed("A", 107 * minute, 90 * minute),  # lay there: 7 minutes
        Signed("A", 115 * minute, 110 * minute),  # came after the last signature: she may have waited
        Signed("A", 200 * minute, 0.0),  # a pause
        Signed("B", 104 * minute, 0.0),
        Signed("B", 108 * minute, 1.0),
    ]
    assert sorted(reading_times(signed)) == [4.0, 7.0]
    assert readers_at_work(signed) == round((2 + 1) / 2)
    assert reading_times([]).size == 0
    assert readers_at_work([]) == 1


def _audit(number: int, present: bool, finding: str = "pneumonia", **what: object) -> PlacedAudit:
    tier = Tier.HIGH if present else Tier.REVIEW
    given = {"tier": tier, "target_minutes": 15.0 if present else 50.0, "propensity": 0.1}
    return PlacedAudit(f"1.{number}", finding, present, **{**given, **what})


def test_the_population_is_the_audit_s_weighed_by_its_propensities() -> None:
    audits = [_audit(n, n < 25, propensity=0.1 if n < 25 else 0.05) for n in range(60)]
    population = population_of(audits)
    assert population is not None
    assert population.groups == ("pneumonia", "others")
    drawn = population.group[population.draw(np.random.default_rng(0), 40_000)]
    assert (drawn == 0).mean() == pytest.approx(25 * 10 / (25 * 10 + 35 * 20), abs=0.01)
    assert population_of(audits[:30]) is None


def test_of_several_findings_the_earliest_target_counts() -> None:
    audits = [_audit(n, n < 25) for n in range(60)]
    audits += [_audit(n, False, "effusion", target_minutes=5.0, tier=Tier.HIGH) for n in range(60)]
    population = population_of(audits)
    assert population is not None
    assert set(population.target) == {5.0}
    assert {population.tiers[n] for n in population.tier} == {"high"}


def _fill(ledger: Ledger) -> None:
    """Ten days of 20 studies each, read by one reader within 6 minutes each; 60 of them audited."""
    start = now() // DAY * DAY - 10 * DAY
    with ledger.write() as connection:
        for number in range(200):
            arrived = start + number // 20 * DAY + 8 * 3600 + number % 20 * 240.0
            uid = f"1.2.{number}"
            put_study(connection, uid, arrived_at=arrived)
            put_prediction(connection, uid, 2.0 if number % 3 == 0 else -2.0, scored_at=arrived)
            put_read(connection, uid, number % 3 == 0, at=arrived + 120 + number % 20 * 120.0)
            if number % 3:  # the negatives' read-by time is an hour later
                connection.execute(
                    update(predictions)
                    .where(predictions.c.study_instance_uid == uid)
                    .values(read_by=predictions.c.read_by + 60)
                )
            if number < 75:
                connection.execute(
                    insert(selections).values(
                        study_instance_uid=uid,
                        kind="audit",
                        strategy="random",
                        propensity=0.1,
                        seed="s",
                        decided_at=arrived,
                        day="2026-01-01",
                    )
                )


def test_the_ledger_alone_answers(ledger: Ledger) -> None:
    _fill(ledger)
    room = simulating.Room()
    setup = simulating.setup(Settings(), ledger, room)
    assert setup.traffic.reading.mean == pytest.approx(6.0)
    assert setup.traffic.arrivals.per_day == pytest.approx(20, abs=3)
    assert setup.traffic.readers == 1
    said = simulating.ask(setup, Rule.READ_BY, days=5, runs=4, seed=0, on_run=lambda: None)
    assert said.line("pneumonia").saved.value > 0.0 > said.line("others").saved.value
    assert simulating.theory(setup, room, Rule.READ_BY) == {}
    document = simulating.document(said, setup, {})
    assert document["groups"][0]["who"] == "pneumonia"
    assert document["hours"]["others"][3]["saved"]["value"] is None


def test_what_the_ledger_does_not_know_is_asked_for_by_its_option(ledger: Ledger) -> None:
    for room, option in (
        (simulating.Room(), "--per-day"),
        (simulating.Room(per_day=50.0), "--reading-minutes"),
        (simulating.Room(per_day=50.0, reading_minutes=5.0), "--finding"),
    ):
        with pytest.raises(ConfigurationError, match=option):
            simulating.setup(Settings(), ledger, room)
    with ledger.read() as connection:
        assert reading_room.placed_audits(connection, 0.0) == []


@pytest.mark.parametrize("text", ["pneumonia", "pneumonia=0.1,0.9", "p=0.1,0.9,1.9", "p=a,b,c"])
def test_a_finding_that_is_none_is_told(text: str) -> None:
    with pytest.raises(ConfigurationError, match="NAME=PREVALENCE,SENSITIVITY,SPECIFICITY"):
        simulating.finding_point(text)


def test_theory_stands_beside_what_has_one() -> None:
    point = FindingPoint("pneumonia", 0.1, 0.9, 0.9)
    room = simulating.Room((point,), per_day=115.2, reading_minutes=10.0, readers=1)
    setup = simulating.setup(Settings(), None, room)
    assert simulating.theory(setup, room, Rule.PREEMPTIVE)["pneumonia"] == pytest.approx(33.645, abs=1e-3)
    busy = simulating.Room((point,), per_day=200.0, reading_minutes=10.0, readers=1)
    assert simulating.theory(simulating.setup(Settings(), None, busy), busy, Rule.PREEMPTIVE) == {}


def test_the_plots_are_svg_that_opens(tmp_path) -> None:
    population = by_operating_points([FindingPoint("a < b", 0.1, 0.9, 0.9)], 15, 60)
    said = answer(poisson(50, 10), population, Rule.READ_BY, days=3, runs=2)
    for path in simulating.draw(said, tmp_path / "plots"):
        root = ElementTree.fromstring(path.read_text())
        assert root.tag.endswith("svg")
        assert len(root.findall(".//{*}rect")) >= 3
    assert "a &lt; b" in plots.by_group_and_tier(said)
