"""What peers ask for beyond the plain case is taken politely, by either data path, and harms no object."""

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from pynetdicom import AE, build_role
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from orthanc_al.dicom import command
from orthanc_al.dicom.acceptor import Acceptor
from orthanc_al.dicom.inbox import DataPath
from tests.contract.data_path_test import ABORT, CLOSED, RELEASE_RQ, RELEASED, Box
from tests.support.raw_peer import VERIFICATION, RawPeer, associate_rq, item, p_data, pdv, store
from tests.support.wire import CT, EXPLICIT, until

PATHS: tuple[DataPath, ...] = ("fast", "plain")
_CANCEL_RQ, _STORE_RSP = 0x0FFF, 0x8001
_ACCEPTED, _REJECTED = 0x02, 0x03


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture(params=PATHS)
def acceptor(request: pytest.FixtureRequest, box: Box) -> Iterator[Acceptor]:
    made = Acceptor("US", "127.0.0.1", 0, 64, [], inbox=box, data_path=request.param)
    made.start()
    yield made
    made.stop()


def _identity(kind: int) -> UserIdentityNegotiation:
    one = UserIdentityNegotiation()
    one.user_identity_type, one.primary_field, one.positive_response_requested = kind, b"somebody", True
    if kind == 2:
        one.secondary_field = b"a passcode"
    return one


def _window() -> AsynchronousOperationsWindowNegotiation:
    one = AsynchronousOperationsWindowNegotiation()
    one.maximum_number_operations_invoked, one.maximum_number_operations_performed = 8, 8
    return one


def _extended() -> SOPClassExtendedNegotiation:
    one = SOPClassExtendedNegotiation()
    one.sop_class_uid, one.service_class_application_information = CT, b"\2\0\1\0\3\0"
    return one


def _common() -> SOPClassCommonExtendedNegotiation:
    one = SOPClassCommonExtendedNegotiation()
    one.sop_class_uid, one.service_class_uid = CT, "1.2.840.10008.4.2"
    one.related_general_sop_class_identification = [CT]
    return one


@pytest.mark.parametrize(
    "asked",
    [
        *(_identity(kind) for kind in (1, 2, 3, 4, 5)),
        _window(),
        _extended(),
        _common(),
        build_role(CT, scu_role=True, scp_role=True),
    ],
    ids=[*(f"user identity {kind}" for kind in range(1, 6)), "window", "extended", "common", "role"],
)
def test_what_else_is_negotiated_does_not_keep_an_object_out(
    acceptor: Acceptor, box: Box, asked: Any
) -> None:
    ae = AE("CT")
    ae.add_requested_context(CT, EXPLICIT)
    association = ae.associate("127.0.0.1", acceptor.port, ae_title="US", ext_neg=[asked])
    assert association.is_established
    assert not association.acceptor.user_identity  # no server response: nobody was authenticated
    association.release()
    with RawPeer.associated(acceptor.port, [(CT, EXPLICIT)]) as peer:
        peer.say(store("1.2.3", b"\0" * 10, sop_class=CT))
        assert peer.status() == 0
    assert [request.sop_instance_uid for request, _ in box.whole] == ["1.2.3"]


def test_a_requestor_of_the_scp_role_alone_is_not_taken_for_a_sender(acceptor: Acceptor) -> None:
    ae = AE("CT")
    ae.add_requested_context(CT, EXPLICIT)
    role = build_role(CT, scu_role=False, scp_role=True)
    association = ae.associate("127.0.0.1", acceptor.port, ae_title="US", ext_neg=[role])
    until(lambda: association.is_established or association.is_aborted or association.is_rejected)
    association.release()
    with RawPeer.associated(acceptor.port, [VERIFICATION]) as peer:
        peer.say(p_data(pdv(1, command.c_echo_rq(1), is_command=True, last=True)))
        assert peer.status() == 0


def test_several_requests_within_a_window_are_answered_each(acceptor: Acceptor, box: Box) -> None:
    with RawPeer.associated(acceptor.port, [(CT, EXPLICIT)]) as peer:
        peer.say(b"".join(store(f"1.2.{n}", b"\1" * n, sop_class=CT, number=n) for n in range(1, 9)))
        assert [peer.response().message_id for _ in range(8)] == list(range(1, 9))
    assert [len(body) for _, body in box.whole] == list(range(1, 9))


@pytest.mark.parametrize("size", [1, 3, 4097, 65_535])
def test_fragments_and_data_sets_of_odd_length_are_kept_as_they_are(
    acceptor: Acceptor, box: Box, size: int
) -> None:
    body = bytes(range(256)) * 256
    with RawPeer.associated(acceptor.port, [(CT, EXPLICIT)]) as peer:
        request = pdv(1, command.c_store_rq(1, CT, "1.2.3"), is_command=True, last=True)
        head, rest = body[:size], body[size : 2 * size + 1]
        peer.say(
            p_data(request, pdv(1, head, is_command=False, last=False))
            + p_data(pdv(1, rest, is_command=False, last=True))
        )
        assert peer.status() == 0
    assert [one for _, one in box.whole] == [head + rest]


def test_who_takes_pdus_of_any_length_is_answered(acceptor: Acceptor, box: Box) -> None:
    unlimited = associate_rq([(CT, EXPLICIT)]).replace(
        item(0x51, struct.pack(">L", 1 << 14)), item(0x51, struct.pack(">L", 0))
    )
    with RawPeer(acceptor.port) as peer:
        peer.say(unlimited)
        assert peer.hear()[0] == 0x02
        peer.say(store("1.2.3", b"x" * 3_000_001, pdu=0, sop_class=CT))
        assert peer.status() == 0
        peer.say(RELEASE_RQ)
        assert peer.hear()[0] == RELEASED
    assert [len(body) for _, body in box.whole] == [3_000_001]


# pynetdicom's own reader dies of a command set that it can't read, and its association with it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    "said",
    [
        store("1.2.3", b"\0" * 10, context_id=7, sop_class=CT),
        p_data(pdv(1, b"\0" * (1 << 16) + b"\0\0", is_command=True, last=False)),
        p_data(pdv(1, command.c_echo_rq(1)[:-3], is_command=True, last=True)),
    ],
    ids=["context that was not accepted", "command set of 64 KB", "command set cut short"],
)
def test_what_breaks_the_protocol_ends_the_association_alone(
    acceptor: Acceptor, box: Box, said: bytes
) -> None:
    with (
        RawPeer.associated(acceptor.port, [(CT, EXPLICIT)]) as peer,
        RawPeer.associated(acceptor.port, [(CT, EXPLICIT)]) as other,
    ):
        peer.say(said)
        if len(said) > 1 << 16:
            peer.say(p_data(pdv(1, b"", is_command=True, last=True)))
        assert peer.hear()[0] in (ABORT, CLOSED)
        other.say(store("1.2.4", b"\0" * 10, sop_class=CT))
        assert other.status() == 0
    assert [request.sop_instance_uid for request, _ in box.whole] == ["1.2.4"]


def _bare(field: int, *more: tuple[int, int]) -> bytes:
    elements = b"".join(
        struct.pack("<HHLH", 0, number, 2, value)
        for number, value in ((0x0100, field), (0x0120, 1), (0x0800, 0x0101), *more)
    )
    return struct.pack("<HHLL", 0, 0, 4, len(elements)) + elements


def test_a_cancel_of_nothing_is_overheard(acceptor: Acceptor, box: Box) -> None:
    with RawPeer.associated(acceptor.port, [(CT, EXPLICIT)]) as peer:
        peer.say(p_data(pdv(1, _bare(_CANCEL_RQ), is_command=True, last=True)))
        peer.say(store("1.2.3", b"\0" * 10, sop_class=CT))
        assert peer.status() == 0
    assert len(box.whole) == 1


def test_an_answer_to_nothing_hangs_nothing(acceptor: Acceptor, box: Box) -> None:
    with RawPeer.associated(acceptor.port, [(CT, EXPLICIT)]) as peer:
        peer.say(p_data(pdv(1, _bare(_STORE_RSP, (0x0900, 0)), is_command=True, last=True)))
        peer.say(store("1.2.3", b"\0" * 10, sop_class=CT))
        assert peer.hear()[0] in (0x04, ABORT, CLOSED)
    with RawPeer.associated(acceptor.port, [(CT, EXPLICIT)]) as peer:
        peer.say(store("1.2.4", b"\0" * 10, sop_class=CT))
        assert peer.status() == 0
    assert box.whole[-1][0].sop_instance_uid == "1.2.4"


def test_five_hundred_callers_at_once_are_asked_to_come_back_and_the_next_is_served(box: Box) -> None:
    fast = Acceptor("US", "127.0.0.1", 0, 64, [], inbox=box, data_path="fast")
    fast.start()
    callers = [RawPeer(fast.port, timeout=60) for _ in range(500)]
    for caller in callers:
        caller.say(associate_rq([(CT, EXPLICIT)]))
    answers = [caller.hear()[0] for caller in callers]
    for caller in callers:
        caller.connection.close()
    until(lambda: _serves(fast), 60)
    fast.stop()
    assert set(answers) <= {_ACCEPTED, _REJECTED}
    assert answers.count(_ACCEPTED) <= 64


def _serves(acceptor: Acceptor) -> bool:
    with RawPeer(acceptor.port) as peer:
        peer.say(associate_rq([(CT, EXPLICIT)]))
        if peer.hear()[0] != _ACCEPTED:
            return False
        peer.say(store("1.2.3", b"\0" * 10, sop_class=CT))
        return peer.status() == 0
