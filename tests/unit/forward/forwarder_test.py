"""Every instance goes to every destination, as it came, once it can; no destination holds up another."""

import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import _config
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from orthanc_al.dicom import Peer
from orthanc_al.errors import PeerUnreachableError
from orthanc_al.forward import Forwarder, backoff, breaker, clean, lane, line
from orthanc_al.forward.channel import Channel
from orthanc_al.forward.lane import Lane
from orthanc_al.forward.line import Line
from orthanc_al.ledger import Ledger
from orthanc_al.ledger import deliveries as waiting_deliveries
from orthanc_al.ledger.deliveries import Delivery, DeliveryState
from orthanc_al.ledger.schema import deliveries, instances, jobs
from orthanc_al.spool import Spool
from tests.support.wire import (
    CR,
    CT,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    Scp,
    data_set,
    free_port,
    nothing_waits,
    put_instance,
    states,
    until,
)

SENT, WARNING, REFUSED, WAITING = (
    DeliveryState.SENT,
    DeliveryState.WARNING,
    DeliveryState.REFUSED,
    DeliveryState.WAITING,
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)
    for module in (breaker, backoff):
        monkeypatch.setattr(module, "delay", lambda failures, _: 0.01 * failures)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", 0)


@pytest.fixture
def start(ledger: Ledger, spool: Spool) -> Iterator[Any]:
    started: list[Forwarder] = []

    def run(*peers: Peer) -> Forwarder:
        forwarder = Forwarder(ledger=ledger, spool=spool, peers=peers, calling_ae="US")
        forwarder.start()
        started.append(forwarder)
        return forwarder

    yield run
    for forwarder in started:
        forwarder.stop()


def _rows(ledger: Ledger) -> list[Any]:
    with ledger.read() as connection:
        return connection.execute(select(deliveries).order_by(deliveries.c.id)).all()


def test_bytes_go_out_as_they_came_in(ledger: Ledger, spool: Spool, start: Any) -> None:
    bodies = {f"1.2.{number}": data_set(f"1.2.{number}") + b"\0" * number for number in range(0, 40, 2)}
    with Scp([(CT, [EXPLICIT]), (CR, [JPEG])]).running() as scp:
        for uid, body in bodies.items():
            put_instance(ledger, spool, uid, data=body)
        put_instance(ledger, spool, "1.3", data=b"pixels", sop_class=CR, syntax=JPEG)
        forwarder = start(scp.peer())
        until(lambda: nothing_waits(ledger))
        assert {uid: body for uid, _, body in scp.got} == bodies | {"1.3": b"pixels"}
        assert scp.got[-1][1] == JPEG
        assert scp.callers == ["US"]
        assert forwarder.trouble() == {}
        assert forwarder.is_alive()
    assert states(ledger) == {("pacs", SENT): len(bodies) + 1}
    assert {row.transfer_syntax_uid for row in _rows(ledger)} == {None}


def test_a_clock_that_is_set_back_holds_no_delivery_up(ledger: Ledger, spool: Spool, start: Any) -> None:
    put_instance(ledger, spool, "1.2.3")
    with ledger.write() as connection:  # received while the clock was a year ahead
        connection.execute(update(deliveries).values(next_at=deliveries.c.next_at + 365 * 86400.0))
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        start(scp.peer())
        until(lambda: nothing_waits(ledger))
    assert states(ledger) == {("pacs", SENT): 1}


def test_a_file_that_the_disk_cut_short_is_not_passed_on_as_good(
    ledger: Ledger, spool: Spool, start: Any
) -> None:
    instance = put_instance(ledger, spool, "1.2.3", data=b"x" * 1000)
    path = spool.path(instance.id)
    os.truncate(path, path.stat().st_size - 1)
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        start(scp.peer())
        until(lambda: nothing_waits(ledger))
        assert scp.got == []
    assert states(ledger) == {("pacs", REFUSED): 1}


def test_an_object_of_ours_goes_out_when_the_disk_has_its_row_and_holds_no_image_up(
    ledger: Ledger, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that the power takes back would be made anew, with other bytes under its UID."""
    put_instance(ledger, spool, "1.2.3", origin="own")
    put_instance(ledger, spool, "1.2.4")
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        one = Line(ledger, spool, scp.peer(), "US", threading.Event())

        def fail(_: Ledger) -> None:
            raise OperationalError("fdatasync", {}, Exception("Input/output error"))

        with monkeypatch.context() as patched:
            patched.setattr(Ledger, "sync", fail)
            with pytest.raises(OperationalError):
                one.look_once()
        _send_all(one)
        assert [uid for uid, _, _ in scp.got] == ["1.2.4"]
        one.wake()
        one.look_once()
        _send_all(one)
        assert [uid for uid, _, _ in scp.got] == ["1.2.4", "1.2.3"]
        one.lanes[0].channel.close()


def test_an_object_of_ours_that_is_in_hand_is_not_brought_to_the_disk_again(
    ledger: Ledger, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found with each look until its answer is written; images wait for the look meanwhile."""
    put_instance(ledger, spool, "1.2.3", origin="own")
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        one = Line(ledger, spool, scp.peer(), "US", threading.Event())
        synced: list[Ledger] = []

        def sync(ledger: Ledger) -> None:
            synced.append(ledger)

        monkeypatch.setattr(Ledger, "sync", sync)
        for _ in range(3):
            one.wake()
            one.look_once()
        assert synced == [ledger]


def _send_all(one: Line) -> None:
    while one.lanes[0].turn():
        pass


def test_an_answer_that_the_ledger_can_not_take_is_not_asked_for_again(
    ledger: Ledger, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_instance(ledger, spool, "1.2.3")
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        one = Line(ledger, spool, scp.peer(), "US", threading.Event())
        one.look_once()
        assert one.lanes[0].turn()
        write = Ledger.write

        def locked(_: Ledger) -> Any:
            raise OperationalError("INSERT", None, Exception("database is locked"))

        monkeypatch.setattr(Ledger, "write", locked)
        for _ in range(3):
            with pytest.raises(OperationalError):
                one.note_once()
            one.look_once()
        assert not one.lanes[0].turn()
        monkeypatch.setattr(Ledger, "write", write)
        one.note_once()
        one.look_once()
        assert not one.lanes[0].turn()
        one.lanes[0].channel.close()
        assert len(scp.got) == 1
    assert states(ledger) == {("pacs", SENT): 1}


def test_not_more_than_so_many_answers_wait_for_a_ledger_that_takes_none(
    ledger: Ledger, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: each of them would go out again after a crash, and the memory would fill with them."""
    monkeypatch.setattr(line, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(line, "_BATCH", 2)
    monkeypatch.setattr(line, "_MOST_UNWRITTEN", 4)
    for number in range(9):
        put_instance(ledger, spool, f"1.2.{number}")
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        one = Line(ledger, spool, scp.peer(), "US", threading.Event())

        def sent() -> int:
            for _ in range(9):
                one.wake()
                one.look_once()
                while one.lanes[0].turn():
                    pass
            return len(scp.got)

        assert sent() == 4
        one.note_once()
        assert sent() == 8
        one.lanes[0].channel.close()


def test_what_is_written_as_done_while_it_is_looked_up_goes_out_once(
    ledger: Ledger, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_instance(ledger, spool, "1.2.3")
    due = waiting_deliveries.due

    def meanwhile(*asked: Any) -> list[Delivery]:
        found = due(*asked)
        one.note_once()
        return found

    with Scp([(CT, [EXPLICIT])]).running() as scp:
        one = Line(ledger, spool, scp.peer(), "US", threading.Event())
        one.look_once()
        assert one.lanes[0].turn()
        monkeypatch.setattr(waiting_deliveries, "due", meanwhile)
        one.wake()
        one.look_once()
        assert states(ledger) == {("pacs", SENT): 1}
        assert not one.lanes[0].turn()
        one.lanes[0].channel.close()
        assert len(scp.got) == 1


def test_an_association_is_reused_and_reopened_for_a_new_kind(
    ledger: Ledger, spool: Spool, start: Any
) -> None:
    with Scp([(CT, [EXPLICIT]), (CR, [EXPLICIT])]).running() as scp:
        start(scp.peer())
        for number, sop_class in enumerate((CT, CT, CR, CT)):
            put_instance(ledger, spool, f"1.2.{number}", sop_class=sop_class)
            until(lambda: nothing_waits(ledger))
        assert len(scp.callers) == 2


def test_a_destination_that_is_down_holds_up_no_other_and_gets_all_when_it_is_back(
    ledger: Ledger, spool: Spool, start: Any
) -> None:
    down = Scp([(CT, [EXPLICIT])], port=free_port())
    with Scp([(CT, [EXPLICIT])]).running() as up:
        forwarder = start(up.peer("up"), down.peer("down"))
        for number in range(5):
            put_instance(ledger, spool, f"1.2.{number}", to=("up", "down"))
        until(lambda: len(up.got) == 5)
        until(lambda: "down" in forwarder.trouble())
        assert "can't be reached" in forwarder.trouble()["down"]
        until(lambda: states(ledger) == {("up", SENT): 5, ("down", WAITING): 5})
        # The destination was tried, its deliveries were not: that is what a breaker is for.
        assert {row.attempts for row in _rows(ledger) if row.destination == "down"} == {0}
        with down.running():
            until(lambda: len(down.got) == 5)
            until(lambda: forwarder.trouble() == {})
    until(lambda: nothing_waits(ledger))


def test_a_restart_goes_on_where_it_was(ledger: Ledger, spool: Spool) -> None:
    first_done, go_on = threading.Event(), threading.Event()

    def answer(_: Any) -> int:
        first_done.set()
        go_on.wait(10)
        return 0

    with Scp([(CT, [EXPLICIT])], answer=answer).running() as scp:
        for number in range(6):
            put_instance(ledger, spool, f"1.2.{number}")
        one = Forwarder(ledger=ledger, spool=spool, peers=[scp.peer()], calling_ae="US")
        one.start()
        first_done.wait(10)
        stopping = threading.Thread(target=one.stop)
        stopping.start()
        until(one._stop.is_set)
        go_on.set()
        stopping.join()
        assert states(ledger) == {("pacs", SENT): 1, ("pacs", WAITING): 5}
        two = Forwarder(ledger=ledger, spool=spool, peers=[scp.peer()], calling_ae="US")
        two.start()
        until(lambda: nothing_waits(ledger))
        two.stop()
        assert [uid for uid, _, _ in scp.got] == [f"1.2.{number}" for number in range(6)]


@pytest.mark.parametrize(
    ("status", "state"), [(0xB000, WARNING), (0x0111, WARNING), (0xA900, REFUSED), (0x0122, REFUSED)]
)
def test_a_final_answer_ends_the_delivery_with_its_words(
    ledger: Ledger, spool: Spool, start: Any, status: int, state: DeliveryState
) -> None:
    with Scp([(CT, [EXPLICIT])], answer=lambda _: status).running() as scp:
        put_instance(ledger, spool, "1.2.3")
        start(scp.peer())
        until(lambda: nothing_waits(ledger))
    (row,) = _rows(ledger)
    assert (row.state, row.status, row.attempts) == (state, status, 1)
    assert f"0x{status:04X}" in row.error


def test_a_busy_destination_is_tried_until_it_takes_it(ledger: Ledger, spool: Spool, start: Any) -> None:
    answers = iter([0xA700] * 7)
    with Scp([(CT, [EXPLICIT])], answer=lambda _: next(answers, 0)).running() as scp:
        put_instance(ledger, spool, "1.2.3")
        forwarder = start(scp.peer())
        until(lambda: nothing_waits(ledger))
        assert forwarder.trouble() == {}
    (row,) = _rows(ledger)
    assert (row.state, row.attempts) == (SENT, 8)


def test_a_doubtful_answer_is_tried_a_few_times_and_holds_up_nothing(
    ledger: Ledger, spool: Spool, start: Any
) -> None:
    def answer(event: Any) -> int:
        return 0xC000 if str(event.request.AffectedSOPInstanceUID) == "1.2.0" else 0

    with Scp([(CT, [EXPLICIT])], answer=answer).running() as scp:
        for number in range(3):
            put_instance(ledger, spool, f"1.2.{number}")
        start(scp.peer())
        until(lambda: nothing_waits(ledger))
    rows = _rows(ledger)
    assert [row.state for row in rows] == [REFUSED, SENT, SENT]
    assert rows[0].attempts == 5


def test_an_object_that_ends_the_association_does_not_stop_the_others(
    ledger: Ledger, spool: Spool, start: Any
) -> None:
    poison = True

    def answer(event: Any) -> int:
        if poison and str(event.request.AffectedSOPInstanceUID) == "1.2.0":
            event.assoc.abort()
        return 0

    with Scp([(CT, [EXPLICIT])], answer=answer).running() as scp:
        for number in range(4):
            put_instance(ledger, spool, f"1.2.{number}")
        start(scp.peer())
        until(lambda: states(ledger).get(("pacs", SENT)) == 3)
        poison = False
        until(lambda: nothing_waits(ledger))
    assert states(ledger) == {("pacs", SENT): 4}


def test_an_association_that_the_peer_closed_while_idle_is_no_failure(
    ledger: Ledger, spool: Spool, start: Any
) -> None:
    port = free_port()
    with Scp([(CT, [EXPLICIT])], port=port).running() as scp:
        forwarder = start(scp.peer())
        put_instance(ledger, spool, "1.2.1")
        until(lambda: nothing_waits(ledger))
    with Scp([(CT, [EXPLICIT])], port=port).running() as again:
        put_instance(ledger, spool, "1.2.2")
        until(lambda: nothing_waits(ledger))
        assert [uid for uid, _, _ in again.got] == ["1.2.2"]
        assert forwarder.trouble() == {}
    assert [row.attempts for row in _rows(ledger)] == [1, 1]


def test_an_idle_association_is_given_back(
    ledger: Ledger, spool: Spool, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "_IDLE_SECONDS", 0.0)
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        forwarder = start(scp.peer())
        put_instance(ledger, spool, "1.2.1")
        until(lambda: nothing_waits(ledger))
        until(lambda: not forwarder._lines["pacs"].lanes[0].channel.is_open)


def test_a_refused_syntax_is_sent_as_a_lossless_copy_and_the_delivery_says_so(
    ledger: Ledger, spool: Spool, start: Any
) -> None:
    with Scp([(CT, [IMPLICIT])]).running() as scp:
        put_instance(ledger, spool, "1.2.3")
        start(scp.peer())
        until(lambda: nothing_waits(ledger))
    ((uid, syntax, body),) = scp.got
    assert (uid, syntax) == ("1.2.3", IMPLICIT)
    assert body == b"".join(
        struct.pack("<HHL", group, element, len(value)) + value
        for group, element, value in (
            (0x0008, 0x0016, CT.encode() + b"\0"),
            (0x0008, 0x0018, b"1.2.3\0"),
            (0x0020, 0x000D, b"1.2.9\0"),
        )
    )
    (row,) = _rows(ledger)
    assert (row.state, row.transfer_syntax_uid) == (SENT, IMPLICIT)


def test_what_can_not_be_transcoded_is_refused_with_the_reason(
    ledger: Ledger, spool: Spool, start: Any
) -> None:
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        put_instance(ledger, spool, "1.2.1", data=b"no JPEG", syntax=JPEG)
        put_instance(ledger, spool, "1.2.2", sop_class=CR)
        put_instance(ledger, spool, "1.2.3", sop_class="no uid")
        put_instance(ledger, spool, "1.2.4")
        start(scp.peer())
        until(lambda: nothing_waits(ledger))
    rows = _rows(ledger)
    assert [row.state for row in rows] == [REFUSED, REFUSED, REFUSED, SENT]
    assert "transfer syntax" in rows[0].error
    assert "re-encoded" in rows[0].error
    assert "SOP class" in rows[1].error
    assert "no UID" in rows[2].error


def test_a_destination_that_takes_nothing_of_what_waits_is_told(
    ledger: Ledger, spool: Spool, start: Any
) -> None:
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        put_instance(ledger, spool, "1.2.2", sop_class="no uid")
        start(scp.peer())
        until(lambda: nothing_waits(ledger))
    assert states(ledger) == {("pacs", REFUSED): 1}


def test_a_file_that_is_gone_is_a_refusal_and_stops_nothing(ledger: Ledger, spool: Spool, start: Any) -> None:
    spool.remove(put_instance(ledger, spool, "1.2.1").id)
    put_instance(ledger, spool, "1.2.2")
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        start(scp.peer())
        until(lambda: nothing_waits(ledger))
    assert [row.state for row in _rows(ledger)] == [REFUSED, SENT]


@pytest.mark.parametrize(
    ("owner", "name"), [(Line, "look_once"), (Line, "note_once"), (Lane, "turn"), (Lane, "_deliver")]
)
def test_an_unforeseen_fault_does_not_end_the_line(
    ledger: Ledger, spool: Spool, start: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    monkeypatch.setattr(line, "_CRASH_SECONDS", 0.01)
    monkeypatch.setattr(lane, "_CRASH_SECONDS", 0.01)
    real, faults = getattr(owner, name), iter([RuntimeError("a slip of ours")])

    def slips(self: Any, *given: Any) -> Any:
        fault = next(faults, None)
        if fault is not None:
            raise fault
        return real(self, *given)

    monkeypatch.setattr(owner, name, slips)
    put_instance(ledger, spool, "1.2.1")
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        start(scp.peer())
        until(lambda: nothing_waits(ledger))


@pytest.mark.parametrize(("owner", "name"), [(Lane, "run"), (Line, "look_once"), (Line, "note_once")])
def test_a_thread_that_ends_by_a_slip_ends_its_line_for_a_whole_one_to_be_started(
    ledger: Ledger, spool: Spool, start: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # it is no news that it ends
    monkeypatch.setattr(line, "_GRACE_SECONDS", 0.1)

    def ends(_: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(owner, name, ends)
    forwarder = start(Peer("pacs", "PACS", "127.0.0.1", free_port()))
    until(lambda: not forwarder.is_alive())


def test_an_object_on_which_the_program_fails_holds_up_no_other(
    ledger: Ledger, spool: Spool, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Channel.send

    def fails_on_the_first(self: Channel, instance: Any, data: memoryview) -> Any:
        if instance.sop_instance_uid == "1.2.1":
            raise ZeroDivisionError
        return real(self, instance, data)

    monkeypatch.setattr(Channel, "send", fails_on_the_first)
    for uid in ("1.2.1", "1.2.2", "1.2.3"):
        put_instance(ledger, spool, uid)
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        start(scp.peer())
        until(lambda: states(ledger).get(("pacs", SENT)) == 2)
        until(lambda: _rows(ledger)[0].attempts >= 2)  # and it is tried again
        monkeypatch.setattr(Channel, "send", real)
        until(lambda: nothing_waits(ledger))
    assert [row.state for row in _rows(ledger)] == [SENT, SENT, SENT]


def test_deliveries_to_a_peer_that_is_not_configured_any_more_wait(
    ledger: Ledger, spool: Spool, start: Any
) -> None:
    put_instance(ledger, spool, "1.2.1", to=("gone",))
    start()
    assert states(ledger) == {("gone", WAITING): 1}


def test_a_forwarder_that_was_never_started_can_be_stopped(ledger: Ledger, spool: Spool) -> None:
    peer = Peer("pacs", "PACS", "127.0.0.1", 1)
    Forwarder(ledger=ledger, spool=spool, peers=[peer], calling_ae="US").stop()


def test_a_channel_without_an_association_says_so(ledger: Ledger, spool: Spool) -> None:
    instance = put_instance(ledger, spool, "1.2.1")
    channel = Channel(Peer("pacs", "PACS", "127.0.0.1", free_port()), "US")
    with pytest.raises(PeerUnreachableError):
        channel.send(instance, memoryview(b""))
    assert not channel.is_open


def test_files_go_when_they_are_delivered_old_and_without_work(ledger: Ledger, spool: Spool) -> None:
    old = put_instance(ledger, spool, "1.2.1")
    young = put_instance(ledger, spool, "1.2.2")
    with ledger.write() as connection:
        connection.execute(update(deliveries).values(state="sent"))
    waiting = put_instance(ledger, spool, "1.2.3")
    with ledger.write() as connection:
        connection.execute(jobs.delete())
        connection.execute(
            update(instances).where(instances.c.id.in_([old.id, waiting.id])).values(received_at=1.0)
        )
    assert clean(ledger, spool, 3600, ["pacs"]) == 1
    assert set(spool.ids()) == {young.id, waiting.id}
    assert clean(ledger, spool, 3600, ["pacs"]) == 0
    with ledger.read() as connection:
        rows = connection.execute(select(instances.c.id).where(instances.c.spooled)).scalars().all()
    assert set(rows) == {young.id, waiting.id}


def test_much_that_waits_goes_over_several_associations(ledger: Ledger, spool: Spool, start: Any) -> None:
    at_once = threading.Barrier(3)  # each answer waits for the other two: one association alone would hang
    waited = threading.local()

    def answer(_: Any) -> int:
        if not hasattr(waited, "once"):
            waited.once = True
            at_once.wait(20)
        return 0

    for number in range(60):
        put_instance(ledger, spool, f"1.2.{number}")
    with Scp([(CT, [EXPLICIT])], answer=answer).running() as scp:
        start(replace(scp.peer(), associations=3))
        until(lambda: nothing_waits(ledger))
        assert len(scp.callers) == 3
        assert sorted(uid for uid, _, _ in scp.got) == sorted(f"1.2.{number}" for number in range(60))
    assert {row.attempts for row in _rows(ledger)} == {1}


def test_a_peer_that_takes_one_association_at_a_time_gets_all_by_that_one(
    ledger: Ledger, spool: Spool, start: Any
) -> None:
    """As storescp without --fork: the next connection waits in the listen queue, unanswered."""
    for number in range(40):
        put_instance(ledger, spool, f"1.2.{number}")
    with Scp([(CT, [EXPLICIT])], associations=1).running() as scp:
        forwarder = start(replace(scp.peer(), associations=2))
        until(lambda: nothing_waits(ledger))
        assert forwarder.trouble() == {}
        assert len(scp.callers) == 1
    assert {row.attempts for row in _rows(ledger)} == {1}


def test_the_bell_wakes_the_forwarder_when_a_delivery_is_committed(
    ledger: Ledger, spool: Spool, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "_POLL_SECONDS", 3600.0)  # nothing but the bell
    monkeypatch.setattr("orthanc_al.forward.forwarder._POLL_SECONDS", 3600.0)
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        start(scp.peer())
        for number in range(3):
            put_instance(ledger, spool, f"1.2.{number}")
            until(lambda: len(scp.got) == number + 1)  # noqa: B023 - called at once
        monkeypatch.undo()


def test_a_peer_that_never_answers_does_not_hold_up_the_end(ledger: Ledger, spool: Spool) -> None:
    put_instance(ledger, spool, "1.2.3")
    go_on, asked = threading.Event(), threading.Event()

    def answer(_: Any) -> int:
        asked.set()
        go_on.wait(30)
        return 0

    with Scp([(CT, [EXPLICIT])], answer=answer).running() as scp:
        forwarder = Forwarder(ledger=ledger, spool=spool, peers=[scp.peer()], calling_ae="US")
        forwarder.start()
        asked.wait(10)
        forwarder.stop()  # had it waited for the answer, the delivery would be sent
        go_on.set()
    assert states(ledger) == {("pacs", WAITING): 1}
