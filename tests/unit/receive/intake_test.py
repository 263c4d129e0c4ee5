"""What is answered with 0x0000 is in the spool, and gets into the ledger whatever happens on the way."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from orthanc_al.dicom.command import StoreRequest
from orthanc_al.domain import Instance, Origin
from orthanc_al.ledger import Ledger, associations, instances
from orthanc_al.ledger.schema import associations as association_rows
from orthanc_al.receive import Intake, Recorder, Session, recorder, recover, recovery
from orthanc_al.receive.recovery import missing
from orthanc_al.spool import Spool, own_instance_id
from tests.support.wire import CT, EXPLICIT, data_set, states, until

ORIGIN = Origin("CT", "US", "US", "ct", "a" * 32, "dicom")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", 0)


@pytest.fixture
def records(ledger: Ledger, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    monkeypatch.setattr(recorder, "RETRY_SECONDS", 0.05)
    made = Recorder(ledger, spool, ["pacs"])
    yield made
    made.stop()


@pytest.fixture
def session() -> Session:
    return Session(ORIGIN, "10.0.0.1", 1.0)


def _store(spool: Spool, records: Recorder, session: Session, uid: str = "1.2.3") -> int:
    arriving = Intake(spool, records).open(session, StoreRequest(1, CT, uid, EXPLICIT))
    body = memoryview(data_set(uid))
    arriving.write([body[:10], body[10:20]])
    arriving.write([body[20:]])
    return arriving.finish()


def _break(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_: Ledger, **__: bool) -> None:
        raise OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))

    monkeypatch.setattr(Ledger, "write", write)


def _known(ledger: Ledger) -> set[str]:
    with ledger.read() as connection:
        return instances.known_ids(connection)


def _associations(ledger: Ledger) -> list[tuple[str, str | None]]:
    with ledger.read() as connection:
        return [(row.id, row.ended) for row in connection.execute(association_rows.select())]


def test_an_instance_is_stored_and_known_with_its_association(
    ledger: Ledger, spool: Spool, records: Recorder, session: Session
) -> None:
    assert _store(spool, records, session, "1.2.3") == 0
    assert _store(spool, records, session, "1.2.4") == 0
    records.ended(session, "released")
    records.ended(session, "aborted")
    records.start()
    records.stop()
    assert _known(ledger) == set(spool.ids())
    assert len(_known(ledger)) == 2
    with ledger.read() as connection:
        (row,) = connection.execute(association_rows.select())
    assert (row.id, row.ended, row.calling_ae, row.address) == ("a" * 32, "released", "CT", "10.0.0.1")
    assert row.opened_at == 1.0


def test_an_association_without_instances_is_not_kept(
    ledger: Ledger, records: Recorder, session: Session
) -> None:
    records.start()
    records.ended(session, "released")
    records.stop()
    assert _associations(ledger) == []


def test_a_full_disk_is_answered_with_a700_and_leaves_nothing(
    ledger: Ledger, tmp_path: Path, records: Recorder, session: Session
) -> None:
    spool = Spool(tmp_path / "full", 1 << 60)
    records.start()
    assert _store(spool, records, session) == 0xA700
    assert list(spool.ids()) == []
    assert states(ledger) == {}


def test_what_the_ledger_could_not_take_is_acknowledged_and_follows_by_itself(
    ledger: Ledger, spool: Spool, records: Recorder, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.start()
    with monkeypatch.context() as broken:
        _break(broken)
        assert _store(spool, records, session) == 0
        records.ended(session, "released")
    until(lambda: _associations(ledger) == [("a" * 32, "released")])
    assert _known(ledger) == set(spool.ids())


def test_no_association_ends_in_the_ledger_before_its_instances(
    ledger: Ledger, spool: Spool, records: Recorder, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_LARGEST_BATCH", 3)
    seen: list[tuple[int, str | None]] = []
    real = associations.closed

    def closed(connection: object, association_id: str, ended: associations.Ended) -> None:
        query = "SELECT count(*) FROM instances"
        seen.append((connection.exec_driver_sql(query).scalar_one(), ended))  # type: ignore[attr-defined]
        real(connection, association_id, ended)  # type: ignore[arg-type]

    monkeypatch.setattr(associations, "closed", closed)
    for number in range(10):
        _store(spool, records, session, f"1.2.{number}")
    records.ended(session, "released")
    records.start()
    records.stop()
    assert seen == [(10, "released")]


def test_an_instance_that_is_finished_after_the_connection_broke_leaves_no_open_association(
    ledger: Ledger, spool: Spool, records: Recorder, session: Session
) -> None:
    records.start()
    records.ended(session, "aborted")
    _store(spool, records, session)
    records.stop()
    assert _associations(ledger) == [("a" * 32, "aborted")]


def test_the_end_of_an_association_and_a_stop_wait_for_no_rest(
    ledger: Ledger, spool: Spool, records: Recorder, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_REST", 1e9)
    monkeypatch.setattr(recorder, "_LONGEST_GATHER_SECONDS", 3600.0)
    records.start()
    _store(spool, records, session)
    until(lambda: _known(ledger))
    _store(spool, records, session, "1.2.4")  # it would be written an hour later
    records.ended(session, "released")
    until(lambda: _associations(ledger) == [("a" * 32, "released")])
    assert len(_known(ledger)) == 2
    records.stop()


def test_who_waited_for_the_ledger_does_not_rest_for_it(
    ledger: Ledger, spool: Spool, records: Recorder, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It rests for those who receive, whom its waiting kept from nothing."""
    waited = 0.5
    real, hurry, rests = Ledger.write, records._hurry.wait, list[float]()

    @contextmanager
    def write(one: Ledger, **how: bool) -> Iterator[object]:
        time.sleep(waited)
        with real(one, **how) as connection:
            yield connection

    monkeypatch.setattr(Ledger, "write", write)
    monkeypatch.setattr(recorder, "_LONGEST_GATHER_SECONDS", 3600.0)
    monkeypatch.setattr(records._hurry, "wait", lambda rest: rests.append(rest) or hurry(0))
    records.start()
    _store(spool, records, session)
    until(lambda: _known(ledger))
    records.stop()
    assert sum(rests) < recorder._REST * waited / 2


@pytest.mark.parametrize(
    "error",
    [
        IntegrityError("INSERT", {}, Exception("value too long")),
        UnicodeEncodeError("utf-8", "\udca5", 0, 1, "surrogates not allowed"),
    ],
    ids=["refused", "no text"],
)
def test_one_that_the_ledger_cannot_hold_keeps_no_other_out(
    ledger: Ledger,
    spool: Spool,
    records: Recorder,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    real = instances.add_all

    def add_all(connection: object, arrived: list[tuple[object, object]], to: object) -> int:
        if any(one.sop_instance_uid == "1.2.4" for one, _ in arrived):  # type: ignore[attr-defined]
            raise error
        return real(connection, arrived, to)  # type: ignore[arg-type]

    monkeypatch.setattr(instances, "add_all", add_all)
    for uid in ("1.2.3", "1.2.4", "1.2.5"):
        _store(spool, records, session, uid)
    records.start()
    records.stop()
    assert len(_known(ledger)) == 2
    assert len(missing(spool, ledger)) == 1
    assert recover(spool, ledger, []) == 0


def test_a_ledger_that_is_locked_while_a_batch_is_parted_gets_all_of_it_later(
    ledger: Ledger, spool: Spool, records: Recorder, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = instances.add_all
    turns = 0

    def add_all(connection: object, arrived: list[tuple[object, object]], to: object) -> int:
        nonlocal turns
        turns += 1
        if any(one.sop_instance_uid == "1.2.4" for one, _ in arrived):  # type: ignore[attr-defined]
            raise IntegrityError("INSERT", {}, Exception("value too long"))
        if turns == 2:  # the first of them by itself
            raise OperationalError("INSERT", {}, Exception("database is locked"))
        return real(connection, arrived, to)  # type: ignore[arg-type]

    monkeypatch.setattr(instances, "add_all", add_all)
    for uid in ("1.2.3", "1.2.4", "1.2.5"):
        _store(spool, records, session, uid)
    records.ended(session, "released")
    records.start()
    until(lambda: _associations(ledger) == [("a" * 32, "released")])
    assert len(_known(ledger)) == 2


def test_rows_beyond_what_memory_may_hold_are_rebuilt_from_the_spool(
    ledger: Ledger, spool: Spool, records: Recorder, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_MOST_WAITING", 2)
    for number in range(5):
        _store(spool, records, session, f"1.2.{number}")
    records.start()
    until(lambda: _known(ledger) == set(spool.ids()))
    assert len(_known(ledger)) == 5


def test_rows_that_went_with_the_process_are_rebuilt(
    ledger: Ledger, spool: Spool, records: Recorder, session: Session
) -> None:
    _store(spool, records, session)  # the recorder never ran
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


def test_a_lost_ledger_is_rebuilt_by_few_transactions_but_for_what_it_can_not_hold(
    ledger: Ledger, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "_AT_ONCE", 4)
    for number in range(11):
        with spool.open_writer(CT, f"1.2.{number}", EXPLICIT, ORIGIN) as writer:
            writer.commit()
    real = instances.add_all
    sizes: list[int] = []

    def add_all(connection: object, arrived: Sequence[tuple[Instance, Origin]], to: object) -> int:
        sizes.append(len(arrived))
        if any(one.sop_instance_uid == "1.2.7" for one, _ in arrived):
            raise IntegrityError("INSERT", {}, Exception("value too long"))
        return real(connection, arrived, to)  # type: ignore[arg-type]

    monkeypatch.setattr(instances, "add_all", add_all)
    assert recover(spool, ledger, ["pacs"]) == 10
    assert len(missing(spool, ledger)) == 1
    assert sorted(sizes)[-3:] == [3, 4, 4]
    assert recover(spool, ledger, ["pacs"]) == 0


def test_an_association_that_the_ledger_knows_already_keeps_no_instance_out(
    ledger: Ledger, spool: Spool, records: Recorder, session: Session
) -> None:
    with ledger.write() as connection:
        associations.opened(connection, session.id, "CT", "US", "10.0.0.1", 2.0)
    _store(spool, records, session)
    records.start()
    records.stop()
    assert _known(ledger) == set(spool.ids())
    assert _associations(ledger) == [(session.id, None)]
