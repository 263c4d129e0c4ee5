"""Whatever is on the other side, an association works or ends with a reason."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from pynetdicom import _config

from orthanc_al.dicom import Association, Peer, Proposal, echo
from orthanc_al.errors import PeerRefusedError, PeerUnreachableError
from tests.support.wire import BIG_ENDIAN, CR, CT, EXPLICIT, IMPLICIT, JPEG, Scp, data_set, free_port


@pytest.fixture(autouse=True)
def _restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_config, "UNRESTRICTED_STORAGE_SERVICE", False)


def _open(port: int, *proposals: Proposal, timeout: float = 5.0) -> Association:
    return Association.open(
        "127.0.0.1",
        port,
        called_ae="PACS",
        calling_ae="US",
        proposals=proposals or [Proposal(CT, (EXPLICIT,))],
        answer_timeout=timeout,
    )


@contextlib.contextmanager
def _raw_peer(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """A peer of bytes: reads the association request, then does as told."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                behave(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
        thread.join(5)


def test_a_data_set_arrives_as_it_is_and_the_answer_comes_back() -> None:
    body = bytes(range(256)) * 3000
    with Scp([(CT, [EXPLICIT])], answer=lambda _: 0xB007).running() as scp:
        with _open(scp.port) as association:
            context = association.context(CT, EXPLICIT)
            assert context is not None
            assert association.store(context, "1.2.3", body).status == 0xB007
            assert association.store(context, "1.2.4", data_set("1.2.4")).status == 0xB007
        assert scp.got == [("1.2.3", EXPLICIT, body), ("1.2.4", EXPLICIT, data_set("1.2.4"))]


def test_only_what_the_peer_accepted_is_a_context() -> None:
    with Scp([(CT, [IMPLICIT])]).running() as scp:
        proposals = [Proposal(CT, (JPEG,)), Proposal(CT, (EXPLICIT, IMPLICIT)), Proposal(CR, (IMPLICIT,))]
        with _open(scp.port, *proposals) as association:
            assert association.context(CT, JPEG) is None
            assert association.context(CR, IMPLICIT) is None
            assert association.context(CT, IMPLICIT) is not None
            assert len(association.contexts) == 1


def test_128_contexts_are_possible_and_no_more() -> None:
    with Scp([(CT, [BIG_ENDIAN])]).running() as scp:
        many = [Proposal(f"1.2.3.{number}", (EXPLICIT,)) for number in range(127)]
        with _open(scp.port, *many, Proposal(CT, (BIG_ENDIAN,))) as association:
            context = association.context(CT, BIG_ENDIAN)
            assert context is not None
            assert context.id == 255
        with pytest.raises(ValueError, match="128"):
            _open(scp.port, *many, Proposal(CT, (EXPLICIT,)), Proposal(CR, (EXPLICIT,)))


def test_echo_is_answered() -> None:
    with Scp([]).running() as scp:
        echo(scp.peer(), "US")


def test_echo_without_success_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scp([]).running() as scp:
        monkeypatch.setattr(
            Association, "echo", lambda _: type("R", (), {"status": 0x0122, "comment": "no"})()
        )
        with pytest.raises(PeerRefusedError, match="0x0122"):
            echo(scp.peer(), "US")


def test_echo_without_its_context_is_told() -> None:
    with (
        Scp([(CT, [EXPLICIT])]).running() as scp,
        _open(scp.port) as association,
        pytest.raises(PeerUnreachableError, match="C-ECHO"),
    ):
        association.echo()


def test_nobody_there_is_told() -> None:
    with pytest.raises(PeerUnreachableError, match="can't be reached"):
        echo(Peer("x", "PACS", "127.0.0.1", free_port()), "US", timeout=0.5)


def _rejects(connection: socket.socket) -> None:
    connection.sendall(struct.pack(">BBLBBBB", 3, 0, 4, 0, 1, 1, 7))
    connection.recv(1)


def _aborts(connection: socket.socket) -> None:
    connection.sendall(struct.pack(">BBLBBBB", 7, 0, 4, 0, 0, 0, 0))
    connection.recv(1)


def _talks_nonsense(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    connection.recv(1)


def _accepts_brokenly(connection: socket.socket) -> None:
    connection.sendall(struct.pack(">BBL", 2, 0, 76) + b"\x21" * 76)
    connection.recv(1)


def _closes(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def _says_nothing(connection: socket.socket) -> None:
    connection.recv(1)


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (_rejects, "Called AE title not recognised"),
        (_aborts, "aborts instead of an answer"),
        (_talks_nonsense, "announces a PDU"),
        (_accepts_brokenly, "can't be read"),
        (_closes, "closed|broke|no answer"),
        (_says_nothing, "no answer"),
    ],
)
def test_a_peer_that_does_not_accept_is_told_with_its_reason(
    behave: Callable[[socket.socket], None], words: str
) -> None:
    with _raw_peer(behave) as port, pytest.raises(PeerUnreachableError, match=words):
        _open(port, timeout=0.5)


def _store_against(answer: bytes) -> None:
    """Store to a peer that accepts and then answers with these bytes."""
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        association = _open(scp.port, timeout=1.0)
        ours, theirs = socket.socketpair()
        real, association._connection._socket = association._connection._socket, ours
        ours.settimeout(1.0)
        context = association.context(CT, EXPLICIT)
        assert context is not None
        try:
            theirs.sendall(answer)
            theirs.shutdown(socket.SHUT_WR)
            association.store(context, "1.2.3", b"abc")
        finally:
            association.abort()
            theirs.close()
            real.close()


def _p_data(command_set: bytes) -> bytes:
    return struct.pack(">BBLLBB", 4, 0, len(command_set) + 6, len(command_set) + 2, 1, 3) + command_set


def _response(message_id: int) -> bytes:
    return _p_data(b"\0\0\x20\x01\x02\0\0\0" + struct.pack("<H", message_id) + b"\0\0\0\x09\x02\0\0\0\0\0")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (struct.pack(">BBLBBBB", 7, 0, 4, 0, 0, 0, 0), "aborted"),
        (struct.pack(">BBLL", 5, 0, 4, 0), "ended the association"),
        (_p_data(b"\0\0\0"), "can't be read"),
        (_response(9), "answers message 9"),
        (b"", "closed"),
    ],
)
def test_an_association_that_ends_on_the_way_is_told_with_its_reason(
    answer: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A pair of local sockets has no TCP options.
    monkeypatch.setattr(socket.socket, "setsockopt", lambda *_: None)
    with pytest.raises(PeerUnreachableError, match=words):
        _store_against(answer)


def test_release_and_abort_of_a_broken_connection_are_quiet() -> None:
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        association = _open(scp.port)
        association._connection.close()
        association.release()
        association.abort()
