"""Each way of being lost is told as what it is, and holds up nothing but its own destination."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orthanc_al.dicom import Peer
from orthanc_al.dicom.faults import Fault, wants_hands
from orthanc_al.forward import Forwarder, backoff, breaker
from orthanc_al.forward.breaker import Breaker
from orthanc_al.ledger import Ledger
from orthanc_al.ledger.deliveries import DeliveryState
from orthanc_al.spool import Spool
from tests.support.wire import CT, EXPLICIT, Scp, put_instance, states, until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (breaker, backoff):
        monkeypatch.setattr(module, "delay", lambda failures, _: 0.05)


def _aborting(source: int) -> Callable[[socket.socket], None]:
    return lambda peer: peer.sendall(struct.pack(">BBLBBBB", 7, 0, 4, 0, 0, source, 2))


def _rejecting(result: int) -> Callable[[socket.socket], None]:
    return lambda peer: peer.sendall(struct.pack(">BBLBBBB", 3, 0, 4, 0, result, 1, 1))


def _closing(_: socket.socket) -> None:
    return


def _silent(_: socket.socket) -> None:
    time.sleep(1.0)


def _chattering(peer: socket.socket) -> None:
    peer.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n")


@contextlib.contextmanager
def _peer(behave: Callable[[socket.socket], None]) -> Iterator[Peer]:
    """A peer of bytes that does the same to whoever calls."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    behave(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield Peer("odd", "ODD", "127.0.0.1", listener.getsockname()[1], timeout_seconds=0.3)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


@pytest.mark.parametrize(
    ("behave", "fault"),
    [
        (_aborting(0), Fault.ABORTED),
        (_aborting(2), Fault.PROVIDER_ABORTED),
        (_rejecting(1), Fault.REJECTED_PERMANENT),
        (_rejecting(2), Fault.REJECTED_TRANSIENT),
        (_closing, Fault.CLOSED),
        (_silent, Fault.NO_ANSWER),
        (_chattering, Fault.NOT_DICOM),
    ],
)
def test_a_destination_that_is_lost_says_how_and_the_other_gets_all(
    ledger: Ledger, tmp_path: Path, behave: Callable[[socket.socket], None], fault: Fault
) -> None:
    spool = Spool(tmp_path / "spool", 0)
    with _peer(behave) as odd, Scp([(CT, [EXPLICIT])]).running() as scp:
        forwarder = Forwarder(ledger=ledger, spool=spool, peers=[odd, scp.peer()], calling_ae="US")
        forwarder.start()
        for number in range(3):
            put_instance(ledger, spool, f"1.2.{number}", to=("odd", "pacs"))
        until(lambda: states(ledger).get(("pacs", DeliveryState.SENT)) == 3)
        trouble = until(lambda: forwarder.troubles().get("odd"))
        assert trouble.fault == fault
        until(lambda: forwarder.troubles()["odd"].failures > 1)
        assert forwarder.troubles()["odd"].since == trouble.since
        forwarder.stop()
    assert states(ledger)[("odd", DeliveryState.WAITING)] == 3


def test_a_destination_of_one_kilobyte_a_second_holds_up_no_other(ledger: Ledger, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 0)
    entered, go_on = threading.Event(), threading.Event()

    def crawl(_: Any) -> int:  # what comes next stays in the socket: as on a line of no bandwidth
        entered.set()
        go_on.wait(30)
        return 0

    slow = Scp([(CT, [EXPLICIT])], answer=crawl)
    with slow.running(), Scp([(CT, [EXPLICIT])]).running() as quick:
        forwarder = Forwarder(
            ledger=ledger, spool=spool, peers=[slow.peer("slow"), quick.peer("quick")], calling_ae="US"
        )
        forwarder.start()
        for number in range(20):
            put_instance(ledger, spool, f"1.2.{number}", data=b"x" * 300000, to=("slow", "quick"))
        assert entered.wait(20)
        until(lambda: states(ledger).get(("quick", DeliveryState.SENT)) == 20)
        assert ("slow", DeliveryState.SENT) not in states(ledger)
        go_on.set()
        until(lambda: states(ledger).get(("slow", DeliveryState.SENT)) == 20)
        forwarder.stop()


def test_what_people_have_to_mend_is_asked_for_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(breaker, "delay", lambda failures, _: asked.append(failures) or 0.0)
    one = Breaker("pacs")
    one.failed(Fault.NO_ANSWER, "silent")
    one.succeeded()
    one.failed(Fault.REJECTED_PERMANENT, "unknown title")
    assert asked == [1, 6]
    assert {fault for fault in Fault if wants_hands(fault)} == {
        Fault.TLS,
        Fault.REJECTED_PERMANENT,
        Fault.NOT_DICOM,
    }
