"""The worklist: order, filters, parts, and what a line says."""

import pytest
from sqlalchemy import insert, update

from orthanc_al.domain import StudyState, Tier
from orthanc_al.ledger import Ledger, details, figures, schema, worklist
from orthanc_al.ledger.waiting import enqueue
from orthanc_al.ledger.worklist import Filter, Listed
from orthanc_al.pipeline import Step
from tests.support.worklist_ledger import NOW, Case, add, fill

pytestmark = pytest.mark.both_databases

EVERYTHING = Filter()


def _add(ledger: Ledger, *cases: Case, **columns: object) -> None:
    with ledger.write() as connection:
        for number, case in enumerate(cases):
            add(connection, case, number, **columns)


def _page(ledger: Ledger, wanted: Filter = EVERYTHING, limit: int = 100, offset: int = 0) -> worklist.Page:
    with ledger.read() as connection:
        return worklist.page(connection, wanted, limit=limit, offset=offset)


def _uids(ledger: Ledger, wanted: Filter = EVERYTHING, **part: int) -> list[str]:
    return [entry.study_instance_uid for entry in _page(ledger, wanted, **part).entries]


def test_order_is_by_read_by_time_then_by_arrival(ledger: Ledger) -> None:
    _add(
        ledger,
        Case("2.25.1", Tier.LOW, probability=0.01, minutes_ago=100),
        Case("2.25.2", Tier.HIGH, probability=0.9, minutes_ago=5),
        Case("2.25.3", state=StudyState.COMPLETE, minutes_ago=10),
        Case("2.25.4", state=StudyState.COMPLETE, minutes_ago=10.3),
    )
    with ledger.write() as connection:
        connection.execute(
            update(schema.studies).where(schema.studies.c.study_instance_uid > "2.25.2").values(read_by=10**7)
        )
    assert _uids(ledger) == ["2.25.4", "2.25.3", "2.25.2", "2.25.1"]


def test_parts_of_the_list_join_without_gap_or_overlap(ledger: Ledger) -> None:
    with ledger.write() as connection:
        for number in range(25):
            add(connection, Case(f"2.25.{number}", state=StudyState.COMPLETE, minutes_ago=7.0))
    parts = [uid for offset in (0, 10, 20) for uid in _uids(ledger, limit=10, offset=offset)]
    assert parts == _uids(ledger)
    assert len(set(parts)) == 25
    assert _page(ledger, limit=10, offset=20).total == 25


def test_read_and_expired_studies_are_off_the_list(ledger: Ledger) -> None:
    _add(
        ledger,
        Case("2.25.1", state=StudyState.READ),
        Case("2.25.2", state=StudyState.EXPIRED),
        Case("2.25.3", state=StudyState.ARRIVING),
    )
    assert _uids(ledger) == ["2.25.3"]
    assert set(_uids(ledger, Filter(listed=Listed.CLOSED))) == {"2.25.1", "2.25.2"}
    assert len(_uids(ledger, Filter(listed=Listed.ALL))) == 3


def test_filters_narrow_the_list_and_tier_counts_leave_the_tier_aside(ledger: Ledger) -> None:
    _add(
        ledger,
        Case("2.25.1", Tier.HIGH, probability=0.9, modality="CR"),
        Case("2.25.2", Tier.REVIEW, probability=0.4),
        Case("2.25.3", state=StudyState.COMPLETE),
    )
    assert _uids(ledger, Filter(modality="CR")) == ["2.25.1"]
    page = _page(ledger, Filter(tier=Tier.REVIEW))
    assert [entry.study_instance_uid for entry in page.entries] == ["2.25.2"]
    assert page.total == 1
    assert page.tiers == {Tier.HIGH: 1, Tier.REVIEW: 1, Tier.NONE: 1, Tier.LOW: 0}


@pytest.mark.parametrize("text", ["oKAf", "48213", "A2670000"])
def test_search_finds_name_id_and_accession_whatever_the_case(ledger: Ledger, text: str) -> None:
    _add(ledger, Case("2.25.1"), Case("2.25.2"))
    assert _uids(ledger, Filter(text=f" {text} ")) == ["2.25.1"]


@pytest.mark.parametrize("text", ["%", "_", "'; drop table studies; --"])
def test_search_takes_no_wildcards_and_no_sql(ledger: Ledger, text: str) -> None:
    _add(ledger, Case("2.25.1"))
    assert _uids(ledger, Filter(text=text)) == []


def _another(row: dict[str, object]) -> dict[str, object]:
    """The same row but for its key, which the database gives."""
    return {name: value for name, value in row.items() if name != "id"}


def test_line_shows_the_finding_that_decided_the_place(ledger: Ledger) -> None:
    _add(ledger, Case("2.25.1", Tier.HIGH, probability=0.8, asked=True))
    with ledger.write() as connection:
        row = dict(connection.execute(schema.predictions.select()).mappings().one())
        later = _another(row) | {"finding": "effusion", "probability": 0.99, "read_by": row["read_by"] + 30}
        connection.execute(insert(schema.predictions).values(later))
        untriaged = _another(row) | {"finding": "nodule", "probability": 1.0, "read_by": None, "tier": None}
        connection.execute(insert(schema.predictions).values(untriaged))
    (entry,) = _page(ledger).entries
    assert entry.result is not None
    assert (entry.result.finding, entry.result.probability) == ("pneumonia", 0.8)
    assert entry.asked
    assert entry.why == "Pneumonia probable: read within 15 min"


def test_newest_revision_that_went_through_select_is_shown(ledger: Ledger) -> None:
    _add(ledger, Case("2.25.1", Tier.REVIEW, probability=0.4))
    with ledger.write() as connection:
        row = dict(connection.execute(schema.predictions.select()).mappings().one())
        for revision, scored_at, probability in ((2, row["scored_at"] + 0.5, 0.6), (3, NOW, 0.99)):
            newer = {"revision": revision, "scored_at": scored_at, "probability": probability}
            connection.execute(insert(schema.predictions).values(_another(row) | newer))
    (entry,) = _page(ledger).entries
    assert entry.result is not None
    assert (entry.result.revision, entry.result.probability) == (2, 0.6)


def test_ineligible_study_says_why(ledger: Ledger) -> None:
    _add(ledger, Case("2.25.1", state=StudyState.INELIGIBLE, reason="no model for modality CT"))
    (entry,) = _page(ledger).entries
    assert (entry.reason, entry.result, entry.tier) == ("no model for modality CT", None, Tier.NONE)


def test_domain_ends_at_its_limit(ledger: Ledger) -> None:
    inside = Case("2.25.1", Tier.REVIEW, probability=0.4, ood=1.0)
    outside = Case("2.25.2", Tier.REVIEW, probability=0.4, ood=1.01)
    _add(ledger, inside, outside)
    shown = {e.study_instance_uid: e.result.outside_domain for e in _page(ledger).entries if e.result}
    assert shown == {"2.25.1": False, "2.25.2": True}


def test_modalities_are_those_on_the_list(ledger: Ledger) -> None:
    _add(
        ledger,
        Case("2.25.1", modality="DX"),
        Case("2.25.2", modality=""),
        Case("2.25.3", modality="CR"),
        Case("2.25.4", state=StudyState.READ, modality="MG"),
    )
    with ledger.read() as connection:
        assert worklist.modalities(connection) == ["CR", "DX"]


def test_details_are_none_for_an_unknown_study(ledger: Ledger) -> None:
    with ledger.read() as connection:
        assert details.study(connection, "2.25.404") is None


def test_details_tell_of_deliveries_faults_and_history(ledger: Ledger) -> None:
    _add(ledger, Case("2.25.1", Tier.HIGH, StudyState.READ, probability=0.9))
    with ledger.write() as connection:
        enqueue(connection, Step.MIRROR, "2.25.1", NOW)
        connection.execute(update(schema.jobs).values(state="quarantined", error="Orthanc is away"))
        found = details.study(connection, "2.25.1")
    assert found is not None
    assert [d.state for d in found.instances[0].deliveries] == ["sent", "waiting"]
    assert found.faults == ["mirror: Orthanc is away"]
    assert [e.what for e in found.history] == ["first image arrived", "complete", "off the worklist (read)"]


def test_oldest_due_job_leaves_scoring_aside_while_paused(ledger: Ledger) -> None:
    with ledger.write() as connection:
        assert figures.oldest_due(connection, NOW, paused=False) is None
        enqueue(connection, Step.SCORE, "2.25.1", NOW - 90)
        enqueue(connection, Step.ASSEMBLE, "2.25.2", NOW - 20)
        enqueue(connection, Step.ASSEMBLE, "2.25.3", NOW + 20)
        assert figures.oldest_due(connection, NOW, paused=False) == NOW - 90
        assert figures.oldest_due(connection, NOW, paused=True) == NOW - 20


def test_selections_are_counted_once_their_day_is_over(ledger: Ledger) -> None:
    _add(ledger, Case("2.25.1", probability=0.9, blind=True), Case("2.25.2", probability=0.5, asked=True))
    with ledger.read() as connection:
        assert figures.selections_by_day(connection, "2026-09-21") == {}
        tomorrow = figures.selections_by_day(connection, "2026-09-22")
    assert tomorrow == {("audit", "2026-09-21"): 1, ("query", "2026-09-21"): 1}


def test_filled_ledger_shows_every_study_once(ledger: Ledger) -> None:
    fill(ledger, 60)
    assert len(set(_uids(ledger, Filter(listed=Listed.ALL)))) == 60
