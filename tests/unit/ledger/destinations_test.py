"""What is known of destinations, and deliveries that are given up and taken up again."""

from pathlib import Path

import pytest
from sqlalchemy import select, update

from orthanc_al.ledger import Ledger, deliveries, destinations, instances
from orthanc_al.ledger.deliveries import DeliveryState, Note
from orthanc_al.ledger.schema import deliveries as rows
from orthanc_al.spool import Spool
from tests.support.wire import put_instance, states

pytestmark = pytest.mark.both_databases


def test_trouble_and_syntaxes_are_kept_apart(ledger: Ledger) -> None:
    with ledger.write() as connection:
        destinations.in_trouble(connection, "pacs", "no_answer", "silent", 5.0, 3)
        destinations.learned(connection, "pacs", {"1.2": ["1.3", "1.4"]})
        (known,) = destinations.known(connection).values()
        assert (known.fault, known.reason, known.since, known.failures) == ("no_answer", "silent", 5.0, 3)
        destinations.back(connection, ["pacs", "other"])
        (known,) = destinations.known(connection).values()
    assert (known.fault, known.reason, known.failures) == (None, None, 0)
    assert known.syntaxes == {"1.2": ["1.3", "1.4"]}


def test_what_is_cancelled_is_not_due_and_comes_back_only_when_named(ledger: Ledger, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 0)
    one = put_instance(ledger, spool, "1.2.1", to=("a", "b"))
    two = put_instance(ledger, spool, "1.2.2", to=("a",))
    with ledger.write() as connection:
        instances.set_header(connection, one.id, kind="image", study_instance_uid="1.9")
        assert deliveries.cancel(connection, "a", "1.9", "no such ward") == 1
        assert [due.instance.id for due in deliveries.due(connection, "a", 1e11, 9)] == [two.id]
        assert deliveries.cancel(connection, "a", None, "gone") == 1
        assert deliveries.try_again(connection, "a") == 0
        assert deliveries.try_again(connection, None, "1.9") == 0
        assert deliveries.try_again(connection, "a", "1.9") == 1
    assert states(ledger) == {
        ("a", DeliveryState.CANCELLED): 1,
        ("a", DeliveryState.WAITING): 1,
        ("b", DeliveryState.WAITING): 1,
    }


def test_asking_again_does_not_wait_for_the_time_of_the_next_try(ledger: Ledger, tmp_path: Path) -> None:
    put_instance(ledger, Spool(tmp_path / "spool", 0), "1.2.1", to=("a",))
    with ledger.write() as connection:
        (delivery,) = deliveries.due(connection, "a", 1e11, 9)
        deliveries.write(connection, [Note(delivery.id, DeliveryState.WAITING, 1e10, 0xA700, "full")])
        deliveries.try_again(connection, "a")
        assert connection.execute(select(rows.c.next_at)).scalar_one() < 1e10


def test_a_cancelled_delivery_holds_no_file_where_another_destination_has_it(
    ledger: Ledger, tmp_path: Path
) -> None:
    one = put_instance(ledger, Spool(tmp_path / "spool", 0), "1.2.1", to=("a", "b"))
    with ledger.write() as connection:
        connection.exec_driver_sql("DELETE FROM jobs")
        deliveries.cancel(connection, "a", None, "gone")
        assert deliveries.cleanable(connection, 1e11, 9, ["a", "b"]) == []
        connection.execute(update(rows).where(rows.c.destination == "b").values(state="sent"))
        assert deliveries.cleanable(connection, 1e11, 9, ["a", "b"]) == [one.id]
        assert deliveries.cleanable(connection, 1e11, 9, ["a", "b"], committing=["b"]) == []
        connection.execute(update(rows).where(rows.c.destination == "b").values(state="committed"))
        assert deliveries.cleanable(connection, 1e11, 9, ["a", "b"], committing=["b"]) == [one.id]
