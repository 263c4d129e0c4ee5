"""What is answered with 0x0000 is in the spool, and gets into the ledger whatever happens on the way."""

from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import OperationalError

from orthanc_al.domain import Origin
from orthanc_al.ledger import Ledger, associations, instances
from orthanc_al.ledger.schema import associations as association_rows
from orthanc_al.receive import Intake, Session, recover
from orthanc_al.receive.recovery import missing
from orthanc_al.spool import Spool, own_instance_id
from tests.support.wire import CT, EXPLICIT, data_set, states

ORIGIN = Origin("CT", "US", "US", "ct", "a" * 32, "dicom")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", 0)


def _store(intake: Intake, session: Session, uid: str = "1.2.3") -> int:
    return intake.store(session, CT, uid, EXPLICIT, [data_set(uid)[:10], data_set(uid)[10:]])


def _break(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_: Ledger) -> None:
        raise OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))

    monkeypatch.setattr(Ledger, "write", write)


def test_an_instance_is_stored_and_known_with_its_association(ledger: Ledger, spool: Spool) -> None:
    intake, session = Intake(spool, ledger, ["pacs"]), Session(ORIGIN, "10.0.0.1")
    assert _store(intake, session, "1.2.3") == 0
    assert _store(intake, session, "1.2.4") == 0
    intake.end(session, "released")
    intake.end(session, "aborted")
    with ledger.read() as connection:
        known = instances.known_ids(connection)
        (row,) = connection.execute(association_rows.select())
    assert known == set(spool.ids())
    assert len(known) == 2
    assert (row.id, row.ended, row.calling_ae, row.address) == ("a" * 32, "released", "CT", "10.0.0.1")


def test_an_association_without_instances_is_not_kept(ledger: Ledger, spool: Spool) -> None:
    Intake(spool, ledger, []).end(Session(ORIGIN, "10.0.0.1"), "released")
    with ledger.read() as connection:
        assert connection.execute(association_rows.select()).all() == []


def test_a_full_disk_is_answered_with_a700_and_leaves_nothing(ledger: Ledger, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "full", 1 << 60)
    assert _store(Intake(spool, ledger, ["pacs"]), Session(ORIGIN, "10.0.0.1")) == 0xA700
    assert list(spool.ids()) == []
    assert states(ledger) == {}


def test_what_the_ledger_could_not_take_is_acknowledged_and_recovered(
    ledger: Ledger, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake, session = Intake(spool, ledger, ["pacs"]), Session(ORIGIN, "10.0.0.1")
    with monkeypatch.context() as broken:
        _break(ledger, broken)
        assert _store(intake, session) == 0
    assert intake.behind.is_set()
    assert missing(spool, ledger) == set(spool.ids())
    assert recover(spool, ledger, ["pacs"]) == 1
    assert recover(spool, ledger, ["pacs"]) == 0
    (known,) = spool.ids()
    with ledger.read() as connection:
        row = instances.get(connection, known)
    assert row is not None
    assert (row.source, row.association_id, row.instance.sop_instance_uid) == ("ct", "a" * 32, "1.2.3")
    assert row.instance == spool.describe(known)[0]
    assert len(states(ledger)) == 1


def test_the_end_of_an_association_that_could_not_be_written_stops_nothing(
    ledger: Ledger, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake, session = Intake(spool, ledger, []), Session(ORIGIN, "10.0.0.1")
    _store(intake, session)
    with monkeypatch.context() as broken:
        _break(ledger, broken)
        intake.end(session, "released")
    with ledger.write() as connection:
        assert associations.lose_open(connection) == 1


def test_an_instance_that_is_finished_after_the_connection_broke_leaves_no_open_association(
    ledger: Ledger, spool: Spool
) -> None:
    intake, session = Intake(spool, ledger, []), Session(ORIGIN, "10.0.0.1")
    intake.end(session, "aborted")
    _store(intake, session)
    with ledger.write() as connection:
        assert associations.lose_open(connection) == 0


def test_recovery_leaves_own_objects_to_the_job_that_makes_them(ledger: Ledger, spool: Spool) -> None:
    ours = Origin("US", "US", "US", "", None, "own")
    with spool.open_writer(CT, "2.25.1", EXPLICIT, ours, instance_id=own_instance_id("2.25.1")) as writer:
        writer.commit()
    assert recover(spool, ledger, ["pacs"]) == 0


def test_recovery_goes_on_past_a_damaged_file(ledger: Ledger, spool: Spool) -> None:
    spool.path("0" * 32).write_bytes(b"damaged")
    with spool.open_writer(CT, "1.2.3", EXPLICIT, ORIGIN) as writer:
        writer.commit()
    assert recover(spool, ledger, ["pacs"]) == 1
    assert missing(spool, ledger) == {"0" * 32}


def test_two_associations_of_one_id_are_never_written(ledger: Ledger, spool: Spool) -> None:
    """A row that is there already makes the first write fail: the instance is recovered all the same."""
    with ledger.write() as connection:
        connection.execute(
            insert(association_rows).values(
                id="a" * 32, calling_ae="CT", called_ae="US", address="10.0.0.1", opened_at=1.0
            )
        )
    intake = Intake(spool, ledger, ["pacs"])
    assert _store(intake, Session(ORIGIN, "10.0.0.1")) == 0
    assert intake.behind.is_set()
    assert recover(spool, ledger, ["pacs"]) == 1
