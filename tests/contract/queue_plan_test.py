"""What the queue asks of its tables costs the same whether a hundred jobs wait or thousands.

No test by the clock: SQLite's virtual machine counts its steps, PostgreSQL the rows that it looks at.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from sqlalchemy import Connection, event, text

from orthanc_al.ledger import Ledger, haste, waiting
from orthanc_al.ledger.batches import beside
from orthanc_al.ledger.due import first_due
from orthanc_al.pipeline import WORKER_STEPS, Step
from tests.support.arriving import arrive

pytestmark = pytest.mark.both_databases

_TIME: Final = 1e9


def _claims(connection: Connection) -> object:
    return first_due(connection, WORKER_STEPS, _TIME)


def _takes_films(connection: Connection) -> object:
    lead = first_due(connection, [Step.SCORE_IMAGE], _TIME)
    assert lead is not None
    return beside(connection, lead, _TIME, 8)


def _hastens(connection: Connection) -> object:
    return haste.hasten(connection, [Step.SCORE_IMAGE, Step.SCORE], ["1.3"], 900.0, _TIME)


def _hurries(connection: Connection) -> object:
    return waiting.hurry(connection, Step.SCORE, "1.3", _TIME)


def _looks(connection: Connection) -> object:
    return waiting.is_in_first_try(connection, Step.SCORE_IMAGE, "1.3", _TIME)


@pytest.mark.parametrize("ask", [_claims, _takes_films, _hastens, _hurries, _looks])
def test_what_waits_behind_costs_nothing(ledger: Ledger, ask: Callable[[Connection], object]) -> None:
    """Of 2,500 films that wait no more is looked at than of 250."""
    looked_at = []
    for start, end in ((0, 250), (250, 2_500)):
        names = [f"i{number:05}" for number in range(start, end)]
        arrive(ledger, *names, step=Step.SCORE_IMAGE, modality="DX", size=15_000_000)
        arrive(ledger, f"of the study {start}", step=Step.SCORE_IMAGE, study="1.3", modality="DX")
        with ledger.write() as connection:
            if connection.dialect.name == "postgresql":  # as it does by itself after a while
                connection.execute(text("ANALYZE"))
        looked_at.append(_cost(ledger, ask))
    few, many = looked_at
    assert few > 0
    assert many < 1.5 * few + 10, "what is looked at grows with what waits"


def _cost(ledger: Ledger, ask: Callable[[Connection], object]) -> int:
    with ledger.write() as connection:
        if connection.dialect.name == "sqlite":
            return _steps(connection, ask)
        return sum(_rows(connection, ask))


def _steps(connection: Connection, ask: Callable[[Connection], object]) -> int:
    """Return the steps of SQLite's virtual machine, in tens."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    raw: Any = connection.connection.driver_connection
    raw.set_progress_handler(count, 10)
    try:
        ask(connection)
    finally:
        raw.set_progress_handler(None, 10)
    return taken


def _rows(connection: Connection, ask: Callable[[Connection], object]) -> Iterator[int]:
    """Yield how many rows each part of PostgreSQL's plans looks at."""
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _cur: object, statement: str, parameters: object, *_more: object) -> None:
        asked.append((statement, parameters))

    event.listen(connection.engine, "before_cursor_execute", note)
    try:
        ask(connection)
    finally:
        event.remove(connection.engine, "before_cursor_execute", note)
    for statement, parameters in asked:
        explained = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        yield from _looked_at(explained.scalar_one()[0]["Plan"])


def _looked_at(plan: dict[str, Any]) -> Iterator[int]:
    seen = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    yield int(plan["Actual Loops"] * seen) + 1
    for part in plan.get("Plans", ()):
        yield from _looked_at(part)
