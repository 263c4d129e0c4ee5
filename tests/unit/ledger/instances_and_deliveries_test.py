"""What came in is known once, goes everywhere it should, and never back."""

import time

import pytest
from sqlalchemy import Connection, insert, select, update

from orthanc_al.domain import Instance, Origin
from orthanc_al.ledger import Ledger, associations, deliveries, enqueue, instances
from orthanc_al.ledger.deliveries import Delivery, DeliveryState, Note
from orthanc_al.ledger.schema import jobs, reports, selections, studies
from orthanc_al.pipeline import Step

pytestmark = pytest.mark.both_databases

FROM_CT = Origin("CT", "ORTHANC_AL", "ORTHANC_AL", "ct", "a" * 32, "dicom")
OURS = Origin("ORTHANC_AL", "ORTHANC_AL", "ORTHANC_AL", "", None, "own")


def _instance(number: int = 1, uid: str = "1.2.3", received_at: float = 100.0) -> Instance:
    return Instance(f"{number:032x}", "1.2.840.10008.5.1.4.1.1.2", uid, "1.2.840.10008.1.2", 10, received_at)


def _due(ledger: Ledger, destination: str, time: float = 1e12) -> list[deliveries.Delivery]:
    with ledger.read() as connection:
        return deliveries.due(connection, destination, time, 100)


def _add(
    ledger: Ledger, instance: Instance, origin: Origin = FROM_CT, to: tuple[str, ...] = ("pacs",)
) -> bool:
    with ledger.write() as connection:
        return instances.add(connection, instance, origin, to)


def _jobs(ledger: Ledger) -> list[tuple[str, str]]:
    with ledger.read() as connection:
        return [(row.step, row.subject) for row in connection.execute(select(jobs))]


def _end(
    connection: Connection,
    delivery: Delivery,
    state: DeliveryState,
    status: int | None = None,
    error: str | None = None,
) -> None:
    deliveries.write(connection, [Note(delivery.id, state, 1000.0, status, error)])


def test_an_instance_comes_with_its_deliveries_and_its_first_job(ledger: Ledger) -> None:
    assert _add(ledger, _instance(), to=("pacs", "vna", "pacs"))
    assert [d.instance for d in _due(ledger, "pacs")] == [_instance()]
    assert len(_due(ledger, "vna")) == 1
    assert _jobs(ledger) == [(Step.ARRIVE, _instance().id)]
    with ledger.read() as connection:
        known = instances.get(connection, _instance().id)
        assert known is not None
        assert (known.instance, known.origin, known.source, known.association_id) == (
            _instance(),
            "dicom",
            "ct",
            "a" * 32,
        )
        assert known.kind is None
        assert known.spooled
        assert instances.known_ids(connection) == {_instance().id}


def test_the_same_event_told_twice_is_one(ledger: Ledger) -> None:
    assert _add(ledger, _instance())
    assert not _add(ledger, _instance(), to=("pacs", "vna"))
    assert len(_due(ledger, "pacs")) == 1
    assert _due(ledger, "vna") == []
    assert len(_jobs(ledger)) == 1


def test_an_instance_never_goes_back_to_where_it_came_from(ledger: Ledger) -> None:
    _add(ledger, _instance(), to=("ct", "pacs"))
    assert _due(ledger, "ct") == []
    assert len(_due(ledger, "pacs")) == 1


def test_without_destinations_it_is_kept_and_looked_at(ledger: Ledger) -> None:
    assert _add(ledger, _instance(), to=("ct",))
    assert len(_jobs(ledger)) == 1


def test_own_objects_are_delivered_and_not_looked_at(ledger: Ledger) -> None:
    _add(ledger, _instance(), OURS)
    assert len(_due(ledger, "pacs")) == 1
    assert _jobs(ledger) == []
    with ledger.read() as connection:
        known = instances.get(connection, _instance().id)
        assert known is not None
        assert known.kind == "own"


def test_own_objects_that_come_back_are_no_news(ledger: Ledger) -> None:
    with ledger.write() as connection:
        connection.execute(
            insert(reports).values(
                sop_instance_uid="2.25.7",
                kind="sr",
                study_instance_uid="1.2",
                revision=1,
                instance_id="f" * 32,
                created_at=1.0,
            )
        )
    assert _add(ledger, _instance(uid="2.25.7"))
    assert _due(ledger, "pacs") == []
    assert _jobs(ledger) == []
    with ledger.read() as connection:
        assert [known.kind for known in instances.of_sop(connection, "2.25.7")] == ["own"]


def test_instances_are_found_by_study_once_they_have_been_looked_at(ledger: Ledger) -> None:
    _add(ledger, _instance(2, received_at=200))
    _add(ledger, _instance(1, received_at=300))
    with ledger.write() as connection:
        assert instances.get(connection, "0" * 32) is None
        assert instances.of_study(connection, "1.9") == []
        for number in (1, 2):
            instances.set_header(
                connection,
                _instance(number).id,
                kind="image",
                study_instance_uid="1.9",
                series_instance_uid="1.9.1",
                modality="CT",
                sha256="0" * 64,
            )
        found = instances.of_study(connection, "1.9")
    assert [known.instance.received_at for known in found] == [200, 300]
    assert found[0].instance.modality == "CT"
    assert found[0].kind == "image"


def test_a_delivery_ends_with_what_the_destination_said(ledger: Ledger) -> None:
    _add(ledger, _instance())
    (delivery,) = _due(ledger, "pacs")
    with ledger.write() as connection:
        _end(connection, delivery, DeliveryState.WARNING, 0xB000, "coerced")
        assert deliveries.counts(connection) == {("pacs", DeliveryState.WARNING): 1}
    assert _due(ledger, "pacs") == []


def test_a_delivery_put_off_waits_for_its_time_and_counts_attempts(ledger: Ledger) -> None:
    _add(ledger, _instance())
    (delivery,) = _due(ledger, "pacs")
    with ledger.write() as connection:
        deliveries.write(connection, [Note(delivery.id, DeliveryState.WAITING, 500.0, 0xA700, "busy")])
    assert _due(ledger, "pacs", 499.0) == []
    assert [d.attempts for d in _due(ledger, "pacs", 500.0)] == [1]


def test_what_came_is_looked_at_though_the_clock_was_set_back_before_it_was_noted(ledger: Ledger) -> None:
    _add(ledger, _instance(received_at=time.time() + 7200))
    with ledger.read() as connection:
        assert connection.execute(select(jobs.c.run_at)).scalar_one() <= time.time()


def test_what_was_never_tried_is_due_though_the_clock_was_set_back(ledger: Ledger) -> None:
    _add(ledger, _instance(received_at=700.0))
    assert [d.attempts for d in _due(ledger, "pacs", 100.0)] == [0]


def test_the_longest_waiting_goes_first(ledger: Ledger) -> None:
    for number, received_at in ((1, 300.0), (2, 100.0), (3, 200.0)):
        _add(ledger, _instance(number, received_at=received_at))
    assert [d.instance.received_at for d in _due(ledger, "pacs")] == [100, 200, 300]
    with ledger.read() as connection:
        assert deliveries.oldest_waiting(connection) == {"pacs": 100.0}


@pytest.mark.parametrize(("destination", "again"), [(None, 2), ("pacs", 1), ("elsewhere", 0)])
def test_refused_deliveries_can_be_asked_for_again(
    ledger: Ledger, destination: str | None, again: int
) -> None:
    _add(ledger, _instance(), to=("pacs", "vna"))
    with ledger.write() as connection:
        for name in ("pacs", "vna"):
            (delivery,) = deliveries.due(connection, name, 1e12, 10)
            _end(connection, delivery, DeliveryState.REFUSED, 0xA900)
        assert deliveries.try_again(connection, destination) == again


def test_a_copy_of_what_orthanc_keeps_is_cleaned_away_without_any_destination(ledger: Ledger) -> None:
    orthanc = Origin("ORTHANC", "ORTHANC_AL", "ORTHANC_AL", "orthanc", "a" * 32, "orthanc")
    _add(ledger, _instance(1), orthanc, to=())
    _add(ledger, _instance(2, "1.2.4"), FROM_CT, to=())  # ours is the only copy
    with ledger.write() as connection:
        connection.execute(jobs.delete())
        assert deliveries.cleanable(connection, 1000.0, 10, ["pacs"]) == [_instance(1).id]


def test_files_are_cleaned_away_only_when_nothing_needs_them(ledger: Ledger) -> None:
    def cleanable(before: float = 1000.0) -> list[str]:
        with ledger.read() as connection:
            return list(deliveries.cleanable(connection, before, 10, ["pacs"]))

    _add(ledger, _instance())
    name = _instance().id
    assert cleanable() == []
    with ledger.write() as connection:
        connection.execute(jobs.delete())
    assert cleanable() == []  # not delivered
    (delivery,) = _due(ledger, "pacs")
    with ledger.write() as connection:
        _end(connection, delivery, DeliveryState.SENT, 0)
    assert cleanable() == [name]
    assert cleanable(before=100.0) == []  # too young
    with ledger.write() as connection:
        instances.set_header(connection, name, kind="image", study_instance_uid="1.9")
        enqueue(connection, Step.SCORE, "1.9", 0.0)
    assert cleanable() == []  # its study has open work
    with ledger.write() as connection:
        connection.execute(jobs.delete())
        instances.set_cleaned(connection, [name])
        _end(connection, delivery, DeliveryState.REFUSED)
        assert deliveries.try_again(connection) == 0  # nothing is left to send
    assert cleanable() == []


def _cleanable(ledger: Ledger, *destinations: str) -> list[str]:
    with ledger.write() as connection:
        connection.execute(jobs.delete())
        return list(deliveries.cleanable(connection, 1e12, 10, destinations))


def test_a_file_that_a_destination_refused_is_held_until_that_is_mended(ledger: Ledger) -> None:
    _add(ledger, _instance(), to=("pacs", "vna"))
    for name, state in (("pacs", DeliveryState.SENT), ("vna", DeliveryState.REFUSED)):
        (delivery,) = _due(ledger, name)
        with ledger.write() as connection:
            _end(connection, delivery, state)
    assert _cleanable(ledger, "pacs", "vna") == []


def test_a_file_that_no_destination_has_is_held(ledger: Ledger) -> None:
    _add(ledger, _instance(), to=())
    assert _cleanable(ledger) == []
    assert _cleanable(ledger, FROM_CT.source) == [_instance().id]  # it came from one that has it


def test_the_images_of_an_audit_are_held_until_its_read_is_signed(ledger: Ledger) -> None:
    _add(ledger, _instance())
    (delivery,) = _due(ledger, "pacs")
    audit = {"study_instance_uid": "1.9", "kind": "audit", "strategy": "random", "propensity": 0.1}
    study = {"study_instance_uid": "1.9", "patient_key": "k", "state": "scored", "read_by": 0}
    with ledger.write() as connection:
        _end(connection, delivery, DeliveryState.SENT)
        instances.set_header(connection, _instance().id, kind="image", study_instance_uid="1.9")
        connection.execute(insert(studies).values(**study, arrived_at=1.0, last_received_at=1.0))
        connection.execute(insert(selections).values(**audit, seed="s", decided_at=1.0, day="2026-01-01"))
    assert _cleanable(ledger, "pacs") == []
    with ledger.write() as connection:
        connection.execute(update(selections).values(signed_at=2.0))
    assert _cleanable(ledger, "pacs") == [_instance().id]


def test_associations_end_once_and_a_dead_listeners_are_lost(ledger: Ledger) -> None:
    _add(ledger, _instance())
    with ledger.write() as connection:
        instances.set_header(connection, _instance().id, kind="image", study_instance_uid="1.9")
        for name in ("a" * 32, "b" * 32):
            associations.opened(connection, name, "CT", "ORTHANC_AL", "127.0.0.1")
        assert [a.ended for a in associations.of_study(connection, "1.9")] == [None]
        associations.closed(connection, "a" * 32, "released")
        associations.closed(connection, "a" * 32, "aborted")
        assert associations.lose_open(connection) == 1
        (found,) = associations.of_study(connection, "1.9")
    assert (found.ended, found.calling_ae, found.address) == ("released", "CT", "127.0.0.1")
    assert found.closed_at is not None


def test_refusals_are_counted_by_caller(ledger: Ledger) -> None:
    with ledger.write() as connection:
        for address in ("10.0.0.1", "10.0.0.2", "10.0.0.1"):
            associations.refuse(connection, "CT", "ORTHANC_AL", address, "not listed", observed_only=True)
        found = {refusal.address: refusal for refusal in associations.all_refusals(connection)}
    assert found["10.0.0.1"].times == 2
    assert found["10.0.0.2"].times == 1
    assert found["10.0.0.1"].observed_only
