"""The listener answers with what is true, whatever a peer does."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from orthanc_al.dicom import Association, Peer, Proposal, command, echo
from orthanc_al.domain import Origin
from orthanc_al.errors import PeerUnreachableError
from orthanc_al.ledger import Ledger, associations, instances
from orthanc_al.ledger.schema import associations as association_rows
from orthanc_al.ledger.schema import instances as instance_rows
from orthanc_al.receive import Listener, recorder
from orthanc_al.spool import Spool
from tests.support.raw_peer import RawPeer, p_data, pdv, store
from tests.support.wire import CT, EXPLICIT, IMPLICIT, JPEG, data_set, until

SOURCE = Peer("ct", "CT", "127.0.0.1", 104, ("source",))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", 0)


@pytest.fixture
def listen(ledger: Ledger, spool: Spool) -> Iterator[Callable[..., Listener]]:
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> Listener:
            wanted = {
                "ae_title": "US",
                "host": "127.0.0.1",
                "port": 0,
                "peers": [SOURCE],
                "accept": "listed",
                "spool": spool,
                "ledger": ledger,
                "destinations": ["pacs"],
            } | options
            listener = Listener(**wanted)
            listener.start()
            stack.callback(listener.stop)
            return listener

        yield start


def test_a_study_is_held_open_until_its_instances_are_rebuilt(
    listen: Callable[..., Listener], ledger: Ledger, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some went with the process or with the power, and those that the ledger has look complete."""
    origin = Origin("CT", "US", "US", "ct", "a" * 32, "dicom")
    with ledger.write() as connection:
        associations.opened(connection, "a" * 32, "CT", "US", "127.0.0.1")
    with spool.open_writer(CT, "1.2.3", EXPLICIT, origin) as writer:
        writer.write(data_set("1.2.3"))
        writer.commit()
    held: list[list[str | None]] = []
    add_all = instances.add_all

    def spied(*given: Any) -> int:
        held.append(_ended(ledger))
        return add_all(*given)

    monkeypatch.setattr(instances, "add_all", spied)
    listen()
    assert held == [[None]]
    assert _ended(ledger) == ["lost"]


def _open(
    listener: Listener,
    calling: str = "CT",
    called: str = "US",
    proposals: Sequence[Proposal] = (Proposal(CT, (EXPLICIT,)),),
) -> Association:
    return Association.open(
        "127.0.0.1",
        listener.port,
        called_ae=called,
        calling_ae=calling,
        proposals=proposals,
        answer_timeout=10,
    )


def _send(association: Association, uid: str, body: bytes) -> int:
    return association.store(association.contexts[0], uid, body).status


def _ended(ledger: Ledger) -> list[str | None]:
    with ledger.read() as connection:
        return [row.ended for row in connection.execute(association_rows.select())]


def test_what_is_acknowledged_is_in_spool_and_ledger(
    listen: Callable[..., Listener], ledger: Ledger, spool: Spool
) -> None:
    with _open(listen()) as association:
        assert _send(association, "1.2.3", data_set("1.2.3")) == 0
        (instance_id,) = spool.ids()
        with spool.open(instance_id) as file:
            assert bytes(file.data_set) == data_set("1.2.3")
            assert file.origin.calling_ae == "CT"
            assert file.origin.source == "ct"

        def row() -> instances.KnownInstance | None:
            with ledger.read() as connection:
                return instances.get(connection, instance_id)

        known = until(row)  # it follows the answer
        assert known.association_id == file.origin.association_id
        assert _ended(ledger) == [None]
    until(lambda: _ended(ledger) == ["released"])


def test_an_aborted_association_is_noted_as_such(listen: Callable[..., Listener], ledger: Ledger) -> None:
    association = _open(listen())
    _send(association, "1.2.3", data_set("1.2.3"))
    association.abort()
    until(lambda: _ended(ledger) == ["aborted"])


def test_a_connection_that_breaks_in_the_middle_leaves_nothing(
    listen: Callable[..., Listener], ledger: Ledger, spool: Spool
) -> None:
    with RawPeer.associated(listen().port, [(CT, EXPLICIT)]) as peer:
        peer.say(store("1.2.3", data_set("1.2.3"), sop_class=CT))
        assert peer.status() == 0
        peer.say(store("1.2.4", data_set("1.2.4"), sop_class=CT)[:-20])
    until(lambda: _ended(ledger) == ["aborted"])
    assert len(list(spool.ids())) == 1


def test_any_class_in_any_syntax_is_taken_as_the_requestor_prefers(listen: Callable[..., Listener]) -> None:
    proposals = [
        Proposal("1.2.826.0.1.3680043.2.1143.9.9", (JPEG, IMPLICIT)),
        Proposal("1.3.6.1.4.1.99999.1", ("1.3.6.1.4.1.99999.2",)),
        Proposal(CT, (IMPLICIT, EXPLICIT)),
    ]
    with _open(listen(), proposals=proposals) as association:
        assert [context.transfer_syntax_uid for context in association.contexts] == [
            JPEG,
            "1.3.6.1.4.1.99999.2",
            IMPLICIT,
        ]
        for number, context in enumerate(association.contexts):
            assert association.store(context, f"1.2.{number}", b"any bytes").status == 0


def test_two_objects_under_one_uid_are_both_kept(listen: Callable[..., Listener], spool: Spool) -> None:
    with _open(listen()) as association:
        assert _send(association, "1.2.3", b"one") == 0
        assert _send(association, "1.2.3", b"two") == 0
    assert len(list(spool.ids())) == 2


@pytest.mark.parametrize("uid", ["1.2." + "9" * 96, "not a uid", "1.02.3"])
def test_an_odd_uid_is_taken_as_it_is(listen: Callable[..., Listener], spool: Spool, uid: str) -> None:
    with _open(listen()) as association:
        assert _send(association, uid, b"abc") == 0
    (instance_id,) = spool.ids()
    assert spool.describe(instance_id)[0].sop_instance_uid == uid


def test_a_full_disk_is_answered_with_a700(listen: Callable[..., Listener], tmp_path: Path) -> None:
    spool = Spool(tmp_path / "full", 1 << 60)
    with _open(listen(spool=spool)) as association:
        assert _send(association, "1.2.3", data_set("1.2.3")) == 0xA700
        assert _send(association, "1.2.4", data_set("1.2.4")) == 0xA700
    assert list(spool.ids()) == []


def test_strangers_are_refused_counted_and_told_how_to_be_allowed(
    listen: Callable[..., Listener], ledger: Ledger
) -> None:
    listener = listen()
    for _ in range(2):
        with pytest.raises(PeerUnreachableError, match="Calling AE title not recognised"):
            _open(listener, calling="MR")
    with pytest.raises(PeerUnreachableError, match="Called AE title not recognised"):
        _open(listener, called="OTHER")
    with ledger.read() as connection:
        found = {refusal.calling_ae: refusal for refusal in associations.all_refusals(connection)}
    assert found["MR"].times == 2
    assert 'ae_title = "MR"' in found["MR"].reason
    assert 'ae_title = "OTHER"' in found["CT"].reason
    assert not found["MR"].observed_only


def test_with_observe_strangers_are_let_in_and_listed(
    listen: Callable[..., Listener], ledger: Ledger, spool: Spool
) -> None:
    with _open(listen(accept="observe"), calling="MR", called="OTHER") as association:
        assert _send(association, "1.2.3", data_set("1.2.3")) == 0
    (instance_id,) = spool.ids()
    assert spool.describe(instance_id)[1].source == "ae:MR"
    with ledger.read() as connection:
        (refusal,) = associations.all_refusals(connection)
    assert refusal.observed_only


def test_with_any_nobody_is_listed(listen: Callable[..., Listener], ledger: Ledger) -> None:
    listener = listen(accept="any")
    echo(Peer("us", "WHATEVER", "127.0.0.1", listener.port), "MR")
    with ledger.read() as connection:
        assert associations.all_refusals(connection) == []
    assert _ended(ledger) == []


def test_more_associations_than_allowed_are_asked_to_come_back(listen: Callable[..., Listener]) -> None:
    listener = listen(maximum_associations=1)
    with _open(listener), pytest.raises(PeerUnreachableError, match=r"Transient.*[Ll]ocal limit"):
        _open(listener)


@pytest.mark.parametrize("missing", ["AffectedSOPInstanceUID", "DataSet"])
def test_a_request_that_is_none_ends_the_association_instead_of_hanging(
    listen: Callable[..., Listener], missing: str
) -> None:
    listener = listen()
    request = command.c_store_rq(1, CT, "" if missing == "AffectedSOPInstanceUID" else "1.2.3")
    if missing == "DataSet":
        request = request.replace(b"\0\0\0\x08\x02\0\0\0\x01\0", b"\0\0\0\x08\x02\0\0\0\x01\x01")
    with RawPeer.associated(listener.port, [(CT, EXPLICIT)]) as peer:
        peer.say(p_data(pdv(1, request, is_command=True, last=True)))
        assert peer.hear()[0] in (0x00, 0x07)  # closed, or A-ABORT
    echo(Peer("us", "US", "127.0.0.1", listener.port), "CT")


@pytest.mark.both_databases
def test_a_uid_that_is_none_passes_as_it_is_and_holds_up_no_other(
    listen: Callable[..., Listener], ledger: Ledger, spool: Spool
) -> None:
    odd = ("1.2.\xa5\xff", "1.2.caf\xc3\xa9", "no uid at all", "1." + "2" * 80)
    with _open(listen()) as association:
        for uid in (*odd, "1.2.3"):
            assert _send(association, uid, data_set("1.2.3")) == 0
        assert _send(association, "1.2\0.3", data_set("1.2.3")) == 0x0117
    until(lambda: len(_uids(ledger)) == len(odd) + 1)
    assert _uids(ledger) == {*odd, "1.2.3"}
    assert {spool.describe(one)[0].sop_instance_uid for one in spool.ids()} == {*odd, "1.2.3"}


def test_a_rebuilt_ledger_has_the_odd_uids_too(
    listen: Callable[..., Listener], ledger: Ledger, spool: Spool
) -> None:
    origin = Origin("CT", "US", "US", "ct", None, "dicom")
    for uid in ("1.2.\xa5", "1.2.3"):
        with spool.open_writer(CT, uid, EXPLICIT, origin) as writer:
            writer.write(data_set("1.2.3"))
            writer.commit()
    listen()
    assert _uids(ledger) == {"1.2.\xa5", "1.2.3"}


def _uids(ledger: Ledger) -> set[str]:
    with ledger.read() as connection:
        return set(connection.execute(select(instance_rows.c.sop_instance_uid)).scalars())


def test_noise_on_the_port_does_not_harm_the_next(listen: Callable[..., Listener]) -> None:
    listener = listen()
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\x01\0\xff\xff\xff\xff", b"\x04\0\0\0\0\x04\0\0\0\0"):
        with socket.create_connection(("127.0.0.1", listener.port)) as connection:
            connection.sendall(noise)
    echo(Peer("us", "US", "127.0.0.1", listener.port), "CT")


def test_an_unforeseen_fault_is_a_processing_failure_and_the_association_goes_on(
    listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    with _open(listen()) as association:
        with monkeypatch.context() as broken:
            broken.setattr(Spool, "open_writer", lambda *_: 1 / 0)
            assert _send(association, "1.2.3", b"abc") == 0x0110
        assert _send(association, "1.2.3", b"abc") == 0


def test_associations_of_a_listener_that_died_are_lost(
    listen: Callable[..., Listener], ledger: Ledger
) -> None:
    with ledger.write() as connection:
        associations.opened(connection, "f" * 32, "CT", "US", "10.0.0.1")
    listen()
    assert _ended(ledger) == ["lost"]


def test_rows_that_could_not_be_written_are_written_later(
    listen: Callable[..., Listener], ledger: Ledger, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "RETRY_SECONDS", 0.05)
    listener = listen()
    real = Ledger.write

    def locked(_: Ledger) -> None:
        raise OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))

    with _open(listener) as association:
        monkeypatch.setattr(Ledger, "write", locked)
        assert _send(association, "1.2.3", data_set("1.2.3")) == 0
        with pytest.raises(PeerUnreachableError):
            _open(listener, calling="MR")
        time.sleep(0.2)  # it tries, and fails, meanwhile
        monkeypatch.setattr(Ledger, "write", real)

        def known() -> set[str]:
            with ledger.read() as connection:
                return instances.known_ids(connection)

        until(lambda: known() == set(spool.ids()))


def test_a_peer_whose_name_is_not_known_just_now_stops_nothing(listen: Callable[..., Listener]) -> None:
    unknown = Peer("far", "CT", "no-such-host.invalid", 104, ("source",))
    echo(Peer("us", "US", "127.0.0.1", listen(peers=[unknown, SOURCE]).port), "CT")


def test_a_listener_that_was_never_started_can_be_stopped(ledger: Ledger, spool: Spool) -> None:
    Listener(
        ae_title="US",
        host="127.0.0.1",
        port=0,
        peers=[],
        accept="any",
        spool=spool,
        ledger=ledger,
        destinations=[],
    ).stop()
