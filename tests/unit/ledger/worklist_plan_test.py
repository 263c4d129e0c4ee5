"""How the worklist's statements are answered: by the order's index, so that a page costs what it shows.

No test by the clock: SQLite's plan says whether it sorts, and the steps of its virtual machine, which are
the same on every machine, how the cost of a page grows with the list.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event

from orthanc_al.domain import Tier
from orthanc_al.ledger import Ledger, worklist
from orthanc_al.ledger.worklist import Filter, Listed
from tests.support.large_ledger import fill_large

FILTERS = {
    "open": Filter(),
    "a tier": Filter(tier=Tier.LOW),
    "a modality": Filter(modality="CR"),
    "a text": Filter(text="okafor"),
    "all": Filter(listed=Listed.ALL),
}


def _statements(ledger: Ledger, run: Callable[[], object]) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []

    def note(_c: object, _cur: object, statement: str, parameters: object, *_more: object) -> None:
        found.append((statement, parameters))

    event.listen(ledger._engine, "before_cursor_execute", note)
    try:
        run()
    finally:
        event.remove(ledger._engine, "before_cursor_execute", note)
    return [one for one in found if "FROM studies" in one[0]]


def _page(ledger: Ledger, wanted: Filter, offset: int = 0) -> worklist.Page:
    with ledger.read() as connection:
        return worklist.page(connection, wanted, limit=100, offset=offset)


@pytest.mark.parametrize("name", FILTERS)
def test_a_page_is_read_in_the_order_of_an_index_and_nothing_is_sorted(ledger: Ledger, name: str) -> None:
    fill_large(ledger, 300, 200)
    counted, listed, *_ = _statements(ledger, lambda: _page(ledger, FILTERS[name]))
    with ledger.read() as connection:
        plans = [
            " | ".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters))
            for sql, parameters in (counted, listed)
        ]
    index = "ix_studies_order" if name == "all" else "ix_studies_reading_order"
    assert index in plans[1]
    assert "TEMP B-TREE FOR ORDER BY" not in plans[1]
    assert "ix_studies" in plans[0]


def _steps(ledger: Ledger, run: Callable[[], object]) -> int:
    """Return how many thousand steps SQLite's virtual machine takes, by its progress handler."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    with ledger.read() as connection:
        raw = connection.connection.driver_connection
    raw.set_progress_handler(count, 100)
    try:
        run()
    finally:
        raw.set_progress_handler(None, 100)
    return taken


def test_what_was_read_long_ago_costs_the_list_nothing(tmp_path: Path) -> None:
    steps = {}
    for count in (1_000, 8_000):
        ledger = Ledger.create(f"sqlite:///{tmp_path}/{count}.sqlite")
        fill_large(ledger, count, 200)
        steps[count] = _steps(ledger, lambda ledger=ledger: _page(ledger, Filter()))  # type: ignore[misc]
        ledger.close()
    assert steps[1_000] > 10
    assert steps[8_000] < 1.2 * steps[1_000]


def test_a_long_list_costs_its_count_and_no_more(tmp_path: Path) -> None:
    """The count of tiers looks at an index entry each; the page itself at what it shows."""
    steps = {}
    for count in (1_000, 8_000):
        ledger = Ledger.create(f"sqlite:///{tmp_path}/{count}.sqlite")
        fill_large(ledger, count, count)
        steps[count] = _steps(ledger, lambda ledger=ledger: _page(ledger, Filter()))  # type: ignore[misc]
        ledger.close()
    assert steps[8_000] < 9 * steps[1_000]
    assert steps[8_000] * 100 / 8_000 < 60, "steps of the virtual machine for each study that waits"
