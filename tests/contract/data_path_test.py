"""What the acceptor promises, by either data path: the same bytes, the same answers, nothing half kept."""

import random
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import _STORAGE_CLASSES  # type: ignore[attr-defined]

from orthanc_al.dicom import Association, Peer, Proposal, command, echo
from orthanc_al.dicom.acceptor import Acceptor
from orthanc_al.dicom.command import StoreRequest
from orthanc_al.dicom.inbox import DataPath
from orthanc_al.dicom.pdata import fragments
from tests.support.raw_peer import VERIFICATION, RawPeer, associate_rq, p_data, pdv, store
from tests.support.wire import CT, EXPLICIT, IMPLICIT, JPEG, until

ABORT, CLOSED, RELEASED = 0x07, 0x00, 0x06
MR = "1.2.840.10008.5.1.4.1.1.4"
RELEASE_RQ = b"\x05\0\0\0\0\x04\0\0\0\0"
ABORT_RQ = b"\x07\0\0\0\0\x04\0\0\0\0"


@dataclass
class Box:
    """An inbox that keeps what it gets."""

    status: int = 0x0000
    whole: list[tuple[StoreRequest, bytes]] = field(default_factory=list)
    begun: int = 0
    dropped: int = 0
    largest: int = 0

    def __call__(self, association: Any, request: StoreRequest) -> "_Incoming":
        assert association.requestor.primitive is not None
        self.begun += 1
        return _Incoming(self, request)


class _Incoming:
    def __init__(self, box: Box, request: StoreRequest) -> None:
        self._box, self._request, self._got = box, request, bytearray()

    def write(self, parts: Sequence[memoryview]) -> None:
        for part in parts:
            self._got += part
            self._box.largest = max(self._box.largest, part.nbytes)

    def finish(self) -> int:
        self._box.whole.append((self._request, bytes(self._got)))
        return self._box.status

    def drop(self) -> None:
        self._box.dropped += 1


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture(params=["fast", "plain"])
def data_path(request: pytest.FixtureRequest) -> DataPath:
    path: DataPath = request.param
    return path


@pytest.fixture
def ended() -> list[str]:
    return []


@pytest.fixture
def acceptor(box: Box, data_path: DataPath, ended: list[str]) -> Iterator[Acceptor]:
    handlers = [
        (evt.EVT_RELEASED, lambda _: ended.append("released")),
        (evt.EVT_ABORTED, lambda _: ended.append("aborted")),
        (evt.EVT_CONN_CLOSE, lambda _: ended.append("closed")),
    ]
    made = Acceptor("US", "127.0.0.1", 0, 64, handlers, inbox=box, data_path=data_path)
    assert made.data_path == data_path
    made.start()
    yield made
    made.stop()


def _open(acceptor: Acceptor, *proposals: Proposal) -> Association:
    return Association.open(
        "127.0.0.1",
        acceptor.port,
        called_ae="US",
        calling_ae="CT",
        proposals=proposals or [Proposal(CT, (EXPLICIT,))],
        answer_timeout=10,
    )


def _bodies(box: Box) -> list[bytes]:
    return [body for _, body in box.whole]


def test_every_storage_class_arrives_as_it_was_sent(acceptor: Acceptor, box: Box) -> None:
    rng = random.Random(1)
    classes = sorted(map(str, _STORAGE_CLASSES.values()))
    sent = []
    for start in range(0, len(classes), 64):
        some = classes[start : start + 64]
        with _open(
            acceptor, *(Proposal(one, (rng.choice([EXPLICIT, IMPLICIT, JPEG]),)) for one in some)
        ) as peer:
            for context in peer.contexts:
                body = rng.randbytes(rng.choice([0, 1, 2, 7, 100, 16_384, 40_000]))
                uid = f"1.2.{len(sent)}"
                assert peer.store(context, uid, body).status == 0
                sent.append((context.sop_class_uid, uid, context.transfer_syntax_uid, body))
    assert sent == [
        (request.sop_class_uid, request.sop_instance_uid, request.transfer_syntax_uid, body)
        for request, body in box.whole
    ]


@pytest.mark.parametrize("pdu", [4096, 1 << 14, 1 << 17, 1 << 20, 3_000_000])
def test_pdus_of_any_size_make_the_same_object(acceptor: Acceptor, box: Box, pdu: int) -> None:
    body = random.Random(pdu).randbytes(2_500_001)
    with RawPeer.associated(acceptor.port, [(CT, EXPLICIT)]) as peer:
        peer.say(
            p_data(pdv(1, command.c_store_rq(1, CT, "1.2.3"), is_command=True, last=True))
            + b"".join(
                p_data(
                    pdv(1, body[start : start + pdu - 6], is_command=False, last=start + pdu - 6 >= len(body))
                )
                for start in range(0, len(body), pdu - 6)
            )
        )
        assert peer.status() == 0
    assert _bodies(box) == [body]


def test_fragments_of_any_size_and_grouping_make_the_same_object(acceptor: Acceptor, box: Box) -> None:
    rng = random.Random(2)
    with RawPeer.associated(acceptor.port, [(CT, EXPLICIT)]) as peer:
        sent = []
        for number in range(12):
            body = rng.randbytes(rng.randrange(0, 5000))
            request = command.c_store_rq(number, CT, f"1.2.{number}")
            pieces = [*_cut(rng, request, is_command=True), *_cut(rng, body, is_command=False)]
            while pieces:
                some = rng.randrange(1, 5)
                peer.say(p_data(*pieces[:some]))
                pieces = pieces[some:]
            assert peer.response().message_id == number
            sent.append(body)
    assert _bodies(box) == sent


def _cut(rng: random.Random, message: bytes, *, is_command: bool) -> list[bytes]:
    """A message in fragments of odd sizes, some of them empty."""
    cuts = sorted(rng.randrange(len(message) + 1) for _ in range(rng.randrange(6)))
    edges = [0, *cuts, len(message)]
    return [
        pdv(1, message[start:end], is_command=is_command, last=number == len(cuts))
        for number, (start, end) in enumerate(pairwise(edges))
    ]


def test_bytes_that_come_one_by_one_are_waited_for(acceptor: Acceptor, box: Box) -> None:
    with RawPeer.associated(acceptor.port, [(CT, EXPLICIT)]) as peer:
        for byte in store("1.2.3", b"abc", sop_class=CT):
            peer.say(bytes([byte]))
        assert peer.status() == 0
    assert _bodies(box) == [b"abc"]


def test_a_first_request_that_comes_with_the_association_is_taken(acceptor: Acceptor, box: Box) -> None:
    """Its P-DATA is there before the association's own thread has called it established."""
    for _ in range(20):
        with RawPeer(acceptor.port) as peer:
            peer.say(associate_rq([(CT, EXPLICIT)]))
            assert peer.hear()[0] == 0x02
            peer.say(store("1.2.3", b"abc", sop_class=CT) + RELEASE_RQ)
            assert peer.status() == 0
            assert peer.hear()[0] == RELEASED
    assert len(box.whole) == 20


def test_requests_that_come_all_at_once_are_answered_in_order(acceptor: Acceptor, box: Box) -> None:
    echo_rq = p_data(pdv(3, command.c_echo_rq(9), is_command=True, last=True))
    with RawPeer.associated(acceptor.port, [(CT, EXPLICIT), VERIFICATION]) as peer:
        for number in (1, 2):
            peer.say(store(f"1.2.{number}", bytes([number]) * 70_000, sop_class=CT, number=number) + echo_rq)
            assert peer.response().message_id == number
            assert peer.response().message_id == 9
        peer.say(RELEASE_RQ)
        assert peer.hear()[0] == RELEASED
    assert _bodies(box) == [b"\1" * 70_000, b"\2" * 70_000]


def test_echo_is_answered_between_objects(acceptor: Acceptor, box: Box) -> None:
    echo(Peer("us", "US", "127.0.0.1", acceptor.port), "CT")
    ae = AE("CT")
    ae.add_requested_context(VERIFICATION[0])
    association = ae.associate("127.0.0.1", acceptor.port, ae_title="US")
    for _ in range(3):
        assert association.send_c_echo().Status == 0
    association.release()
    assert box.begun == 0


def test_priority_and_move_originator_change_nothing(acceptor: Acceptor, box: Box) -> None:
    plain = command.c_store_rq(7, CT, "1.2.3")
    elements = plain[12:]
    priority = struct.pack("<HHLH", 0, 0x0700, 2, 0)
    assert priority in elements
    elements = elements.replace(priority, struct.pack("<HHLH", 0, 0x0700, 2, 1))
    elements += struct.pack("<HHL", 0, 0x1030, 4) + b"MOVE" + struct.pack("<HHLH", 0, 0x1031, 2, 77)
    request = struct.pack("<HHLL", 0, 0, 4, len(elements)) + elements
    with RawPeer.associated(acceptor.port, [(CT, EXPLICIT)]) as peer:
        peer.say(p_data(pdv(1, request, is_command=True, last=True)))
        peer.say(p_data(pdv(1, b"abc", is_command=False, last=True)))
        response = peer.response()
    assert (response.message_id, response.status) == (7, 0)
    assert _bodies(box) == [b"abc"]


@pytest.mark.parametrize("status", [0xA700, 0x0110, 0xB000])
def test_the_answer_is_the_inboxs(acceptor: Acceptor, box: Box, status: int) -> None:
    box.status = status
    with _open(acceptor) as peer:
        assert peer.store(peer.contexts[0], "1.2.3", b"abc").status == status


def test_another_class_than_the_contexts_is_taken_as_what_it_says_it_is(acceptor: Acceptor, box: Box) -> None:
    with RawPeer.associated(acceptor.port, [(CT, EXPLICIT)]) as peer:
        peer.say(store("1.2.3", b"abc", sop_class=MR))
        assert peer.status() == 0
    assert [(request.sop_class_uid, body) for request, body in box.whole] == [(MR, b"abc")]


@pytest.mark.parametrize(
    "end", [ABORT_RQ, RELEASE_RQ, b"", b"\x09\0\0\0\0\0", b"\x04\0\0\0\0\x06\0\0\0\x40\x01\x02"]
)
def test_an_association_that_ends_in_the_middle_leaves_nothing(
    acceptor: Acceptor, box: Box, ended: list[str], end: bytes
) -> None:
    pieces = list(fragments(1, command.c_store_rq(1, CT, "1.2.3"), 0, command=True))
    pieces += list(fragments(1, b"x" * 100_000, 1 << 14, command=False))
    for number, sent in enumerate((0.0, 0.4, 0.95), 1):
        with RawPeer.associated(acceptor.port, [(CT, EXPLICIT)]) as peer:
            peer.say(b"".join(header + part for header, part in pieces[: int(sent * len(pieces))]) + end)
        until(lambda: ended.count("closed") == number)  # noqa: B023 - within this turn
    until(lambda: box.dropped == box.begun)
    assert box.whole == []
    assert "released" not in ended or end == RELEASE_RQ


@pytest.mark.parametrize(
    "rubbish",
    [
        p_data(pdv(1, b"abc", is_command=True, last=True)),  # no command set
        p_data(struct.pack(">LBB", 400, 1, 3) + b"abc"),  # longer than its PDU
        b"\x04\0\x7f\xff\xff\xff" + b"x" * 100,
        b"\xff\0\0\0\0\x04\0\0\0\0",
        p_data(pdv(1, command.c_store_rq(1, CT, ""), is_command=True, last=True)),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of pynetdicom's own
def test_what_is_no_dicom_ends_its_own_association_alone(
    acceptor: Acceptor, box: Box, rubbish: bytes
) -> None:
    with _open(acceptor) as other, RawPeer.associated(acceptor.port, [(CT, EXPLICIT)]) as peer:
        peer.say(rubbish)
        peer.connection.shutdown(1)
        while (heard := peer.hear()[0]) not in (ABORT, CLOSED):
            assert heard == 0x04  # a response that says no
        assert other.store(other.contexts[0], "1.2.4", b"abc").status == 0
    assert _bodies(box) == [b"abc"]


def test_many_associations_at_once_each_get_their_own(acceptor: Acceptor, box: Box) -> None:
    faults: list[str] = []

    def send(number: int) -> None:
        try:
            with _open(acceptor) as peer:
                for turn in range(3):
                    body = bytes([number]) * (10_000 * turn + number)
                    assert peer.store(peer.contexts[0], f"1.{number}.{turn}", body).status == 0
        except Exception as error:
            faults.append(repr(error))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert len(box.whole) == 120
    for request, body in box.whole:
        _, number, turn = request.sop_instance_uid.split(".")
        assert body == bytes([int(number)]) * (10_000 * int(turn) + int(number))


def test_stopping_aborts_who_is_connected(acceptor: Acceptor) -> None:
    peers = [RawPeer.associated(acceptor.port, [(CT, EXPLICIT)]) for _ in range(5)]
    peers[0].say(p_data(pdv(1, command.c_store_rq(1, CT, "1.2.3"), is_command=True, last=True)))
    began = time.monotonic()
    acceptor.stop()
    assert time.monotonic() - began < 10
    for peer in peers:
        with peer:
            assert peer.hear()[0] in (ABORT, CLOSED)
    acceptor.start = lambda: None  # type: ignore[method-assign]
    acceptor.stop = lambda: None  # type: ignore[method-assign]


def test_the_syntax_is_the_requestors_first_that_we_would_have(box: Box, data_path: DataPath) -> None:
    def preference(_: str, proposed: Sequence[str]) -> list[str]:
        return [one for one in proposed if one in (EXPLICIT, IMPLICIT)]

    acceptor = Acceptor("US", "127.0.0.1", 0, 4, [], inbox=box, data_path=data_path, preference=preference)
    acceptor.start()
    wanted: list[tuple[tuple[str, ...], str]] = [
        ((JPEG, IMPLICIT, EXPLICIT), IMPLICIT),
        ((EXPLICIT, IMPLICIT), EXPLICIT),
        ((JPEG,), JPEG),  # what is sent is taken
    ]
    with _open(acceptor, *(Proposal(CT, proposed) for proposed, _ in wanted)) as peer:
        assert [one.transfer_syntax_uid for one in peer.contexts] == [syntax for _, syntax in wanted]
    acceptor.stop()


def test_without_what_it_relies_on_the_fast_path_says_so_and_is_not_taken(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pynetdicom.__version__", "4.0.1")
    acceptor = Acceptor("US", "127.0.0.1", 0, 4, [], inbox=box, data_path="fast")
    assert acceptor.data_path == "plain"
    assert "4.0.1" in (acceptor.objection or "")
    acceptor.start()
    with _open(acceptor) as peer:
        assert peer.store(peer.contexts[0], "1.2.3", b"abc").status == 0
    acceptor.stop()
    monkeypatch.setattr("pynetdicom.__version__", "odd")
    other = Acceptor("US", "127.0.0.1", 0, 4, [], inbox=box, data_path="fast")
    assert other.objection
    other.stop()


def test_a_pynetdicom_that_lacks_a_part_is_not_relied_on(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("pynetdicom.dul.DULServiceProvider._read_pdu_data")
    made = Acceptor("US", "127.0.0.1", 0, 4, [], inbox=box, data_path="fast")
    assert "DULServiceProvider._read_pdu_data" in (made.objection or "")
    made.stop()
