"""What a study that comes is compared with, and how many came lately."""

from typing import Any

import pytest
from sqlalchemy import event

from orthanc_al.ledger import Ledger, scored_studies
from orthanc_al.ledger.scored_studies import RecentStudy
from tests.support.learning_ledger import add_revision, put_prediction, put_study


def _score(ledger: Ledger, uid: str, *logits: float, **how: float) -> None:
    with ledger.write() as connection:
        if how.get("revision", 1) == 1:
            put_study(connection, uid)
        else:
            add_revision(connection, uid, int(how["revision"]))
        for number, logit in enumerate(logits):
            put_prediction(connection, uid, logit, finding=f"finding {number}", **how)  # type: ignore[arg-type]


def _recent(ledger: Ledger, limit: int, but: str = "") -> list[RecentStudy]:
    with ledger.read() as connection:
        return scored_studies.recently_scored(connection, limit, but=but)


@pytest.mark.both_databases
def test_of_the_newest_predictions_each_study_is_told_once_and_newest_first(ledger: Ledger) -> None:
    for uid in ("1", "2", "3"):
        _score(ledger, uid, 0.0)
    assert [one.study_instance_uid for one in _recent(ledger, 2)] == ["3", "2"]
    assert [one.study_instance_uid for one in _recent(ledger, 3, but="2")] == ["3", "1"]
    assert _recent(ledger, 1) == [RecentStudy("3", (0.5,), 0.5)]


@pytest.mark.both_databases
def test_all_findings_count_of_the_newest_revision_alone(ledger: Ledger) -> None:
    _score(ledger, "1", 0.0, 100.0, ood=0.25)
    assert _recent(ledger, 9) == [RecentStudy("1", (1.0, 0.5), 0.25)]
    _score(ledger, "1", -100.0, 0.0, revision=2, ood=0.75)
    [(_, probabilities, ood)] = _recent(ledger, 9)
    assert (probabilities, ood) == ((0.5, pytest.approx(0.0)), 0.75)


@pytest.mark.both_databases
def test_how_many_came_lately_counts_studies(ledger: Ledger) -> None:
    _score(ledger, "1", 0.0, 1.0, scored_at=5.0)
    _score(ledger, "2", 0.0, scored_at=6.0)
    with ledger.read() as connection:
        assert scored_studies.scored_since(connection, 5.0) == (2, 5.0)
        assert scored_studies.scored_since(connection, 5.5) == (1, 6.0)
        assert scored_studies.scored_since(connection, 7.0) == (0, None)


def test_how_many_came_lately_is_read_from_an_index_alone(ledger: Ledger) -> None:
    """Each row has an embedding in it, and a busy site has two weeks of them for each study that comes."""
    asked: list[tuple[str, Any]] = []
    with ledger.read() as connection:
        event.listen(connection, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
        scored_studies.scored_since(connection, 5.0)
        [(sql, parameters)] = asked
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters).all()
    assert any("USING COVERING INDEX ix_predictions_scored" in row[3] for row in plan)
