"""What a batch writes: at once where all can be written, else each that can be, on SQLite and PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from sqlalchemy import Connection, insert
from sqlalchemy.exc import OperationalError

from orthanc_al.ledger import Ledger, facts
from orthanc_al.ledger.effects import write_each
from orthanc_al.ledger.schema import jobs

pytestmark = pytest.mark.both_databases


@dataclass(frozen=True)
class _Joint:
    """Notes its name beside how many were written together."""

    name: str
    fault: str = ""

    def __call__(self, connection: Connection) -> None:
        self.write_with(connection, ())

    def write_with(self, connection: Connection, others: Sequence["_Joint"]) -> None:
        for one in (self, *others):
            facts.put(connection, one.name, str(1 + len(others)))
            if one.fault == "a slip":
                raise ZeroDivisionError("slip")
            if one.fault == "a row that breaks a rule":
                connection.execute(insert(jobs).values(step=None))
            if one.fault == "a full disk":
                raise OperationalError("INSERT", {}, Exception("database or disk is full"))


def _alone(connection: Connection) -> None:
    facts.put(connection, "alone", str(1))


def _noted(ledger: Ledger, *names: str) -> list[str | None]:
    with ledger.read() as connection:
        return [facts.get(connection, name) for name in names]


def test_effects_of_a_kind_are_written_at_once_and_others_by_themselves(ledger: Ledger) -> None:
    with ledger.write() as connection:
        assert write_each(connection, [_Joint("a"), _alone, _Joint("b")]) == [None, None, None]
    assert _noted(ledger, "a", "alone", "b") == ["2", "1", "2"]


@pytest.mark.parametrize("fault", ["a slip", "a row that breaks a rule"])
def test_one_that_can_not_be_written_leaves_the_others_to_be_written_by_themselves(
    ledger: Ledger, fault: str
) -> None:
    with ledger.write() as connection:
        refusals = write_each(connection, [_Joint("a"), _Joint("b", fault), _alone, _Joint("c")])
    assert [refusal is None for refusal in refusals] == [True, False, True, True]
    assert _noted(ledger, "a", "b", "alone", "c") == ["1", None, "1", "1"]


def test_where_the_ledger_fails_none_is_told_that_it_is_its_own_fault(ledger: Ledger) -> None:
    with pytest.raises(OperationalError), ledger.write() as connection:
        write_each(connection, [_Joint("a"), _Joint("b", "a full disk")])
    assert _noted(ledger, "a", "b") == [None, None]


def test_nothing_to_write_is_nothing(ledger: Ledger) -> None:
    with ledger.write() as connection:
        assert write_each(connection, []) == []
