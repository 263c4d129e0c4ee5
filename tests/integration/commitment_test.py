"""Storage commitment both ways (PS3.4 annex J): with Orthanc, with pynetdicom, over a restart."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pynetdicom import AE, evt
from sqlalchemy import select, update

from orthanc_al.dicom import Association, Peer, Proposal
from orthanc_al.dicom import commitment as wire
from orthanc_al.forward import Commitments, Forwarder, commitment
from orthanc_al.ledger import Ledger, commitments, deliveries
from orthanc_al.ledger.deliveries import DeliveryState
from orthanc_al.ledger.schema import commitments as transactions
from orthanc_al.ledger.schema import deliveries as rows
from orthanc_al.receive import Listener
from orthanc_al.spool import Spool
from tests.support.orthanc import Orthanc
from tests.support.wire import CT, EXPLICIT, Scp, data_set, free_port, put_instance, states, until

COMMITMENT = "1.2.840.10008.1.20.1"
Answer = Callable[[str], int | None]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(commitment, "_GATHER_SECONDS", -1.0)
    monkeypatch.setattr(commitment, "_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(commitment, "_STAY_SECONDS", 0.2)
    monkeypatch.setattr(commitment, "delay", lambda *_: 0.1)
    monkeypatch.setattr(commitments, "_RESEND_SECONDS", 0.0)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", 0)


@pytest.fixture
def run(ledger: Ledger, spool: Spool) -> Iterator[Callable[..., Listener]]:
    """A listener, a forwarder and what asks for commitments, as the service has them."""
    with ExitStack() as stack:

        def start(*peers: Peer, port: int = 0) -> Listener:
            names = [peer.name for peer in peers if "destination" in peer.roles]
            listener = Listener(
                ae_title="ORTHANC_AL",
                host="127.0.0.1",
                port=port,
                peers=peers,
                accept="listed",
                spool=spool,
                ledger=ledger,
                destinations=names,
            )
            listener.start()
            stack.callback(listener.stop)
            to = [peer for peer in peers if "destination" in peer.roles]
            forwarder = Forwarder(ledger=ledger, spool=spool, peers=to, calling_ae="ORTHANC_AL")
            forwarder.start()
            stack.callback(forwarder.stop)
            stop = threading.Event()
            thread = threading.Thread(target=Commitments(ledger, peers, "ORTHANC_AL", stop).run)
            thread.start()
            stack.callback(thread.join)
            stack.callback(stop.set)
            return listener

        yield start


class Modality:
    """Sends, asks for commitment, and takes the report on an association that we open."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, Dataset]] = []
        ae = AE("CT")
        ae.add_supported_context(COMMITMENT, scu_role=True, scp_role=True)
        self._server = ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take)]
        )
        self.peer = Peer("ct", "CT", "127.0.0.1", self._server.server_address[1], ("source",))

    def __enter__(self) -> "Modality":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _take(self, event: Any) -> tuple[int, None]:
        self.reports.append((event.event_type, event.event_information))
        return 0x0000, None

    def send(self, port: int, *uids: str) -> None:
        with Association.open(
            "127.0.0.1", port, called_ae="ORTHANC_AL", calling_ae="CT", proposals=[Proposal(CT, (EXPLICIT,))]
        ) as association:
            for uid in uids:
                assert association.store(association.contexts[0], uid, data_set(uid)).status == 0

    def ask(self, port: int, transaction_uid: str, *uids: str) -> None:
        us = Peer("us", "ORTHANC_AL", "127.0.0.1", port)
        wire.ask(us, "CT", transaction_uid, [wire.Reference(CT, uid) for uid in uids], lambda _: None, 0.0)


def _uids(information: Dataset, keyword: str) -> list[str]:
    return sorted(str(item.ReferencedSOPInstanceUID) for item in information.get(keyword) or [])


def test_a_modality_is_told_committed_only_once_the_destination_has_it(
    run: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commitment, "_UNKNOWN_SECONDS", 0.5)
    go_on = threading.Event()
    held = Scp([(CT, [EXPLICIT])], answer=lambda _: 0 if go_on.wait(20) else 0xA700)
    with Modality() as modality, held.running() as scp:
        listener = run(modality.peer, scp.peer())
        modality.send(listener.port, "1.2.1", "1.2.2")
        modality.ask(listener.port, "1.9.1", "1.2.1", "1.2.2")
        modality.ask(listener.port, "1.9.2", "1.2.404")
        (kind, information) = until(lambda: modality.reports)[0]
        assert (kind, information.TransactionUID) == (2, "1.9.2")
        assert _uids(information, "FailedSOPSequence") == ["1.2.404"]
        assert information.FailedSOPSequence[0].FailureReason == 0x0112
        assert len(modality.reports) == 1
        go_on.set()
        (kind, information) = until(lambda: modality.reports[1:])[0]
    assert (kind, information.TransactionUID) == (1, "1.9.1")
    assert _uids(information, "ReferencedSOPSequence") == ["1.2.1", "1.2.2"]


def test_a_request_survives_a_restart_and_a_modality_that_is_away(
    ledger: Ledger, spool: Spool, run: Callable[..., Listener]
) -> None:
    put_instance(ledger, spool, "1.2.1", to=())  # no destination: we are who keeps it
    with ledger.write() as connection:
        assert commitments.requested(connection, "1.9.1", "ct", [(CT, "1.2.1")])
        assert not commitments.requested(connection, "1.9.1", "ct", [(CT, "1.2.1")])
    with Modality() as modality:
        away = replace(modality.peer, port=free_port())
        Commitments(ledger, [away], "ORTHANC_AL", threading.Event()).turn()
        with ledger.read() as connection:
            row = connection.execute(select(transactions)).one()
        assert (row.state, row.attempts) == ("open", 1)
        assert "can't be reached" in row.error
        run(modality.peer)
        until(lambda: modality.reports)
    with ledger.read() as connection:
        assert connection.execute(select(transactions.c.state)).scalar_one() == "done"


def _archive(answer: Answer) -> Scp:
    """An SCP that commits itself on the association on which it is asked."""
    scp = Scp([(CT, [EXPLICIT]), (COMMITMENT, [EXPLICIT])])
    asked: list[Dataset] = []

    def on_action(event: Any) -> tuple[int, None]:
        asked.append(event.action_information)
        threading.Timer(0.05, tell, [event.assoc, event.action_information]).start()
        return 0x0000, None

    def tell(association: Any, request: Dataset) -> None:
        information = Dataset()
        information.TransactionUID = request.TransactionUID
        verdicts = [
            (item, answer(str(item.ReferencedSOPInstanceUID))) for item in request.ReferencedSOPSequence
        ]
        information.ReferencedSOPSequence = [item for item, reason in verdicts if reason is None]
        for item, reason in verdicts:
            if reason is not None:
                item.FailureReason = reason
        failed = [item for item, reason in verdicts if reason is not None]
        if failed:
            information.FailedSOPSequence = failed
        association.send_n_event_report(information, 2 if failed else 1, COMMITMENT, f"{COMMITMENT}.1")

    scp.handlers = [(evt.EVT_N_ACTION, on_action)]
    return scp


def test_a_destination_is_asked_and_what_it_has_not_got_is_sent_again(
    ledger: Ledger, spool: Spool, run: Callable[..., Listener]
) -> None:
    lost_once = iter([0x0112])

    def answer(uid: str) -> int | None:
        return next(lost_once, None) if uid == "1.2.1" else None

    with _archive(answer).running() as scp:
        for number in range(3):
            put_instance(ledger, spool, f"1.2.{number}")
        run(replace(scp.peer(), commitment=True))
        until(lambda: states(ledger) == {("pacs", DeliveryState.COMMITTED): 3})
        assert sorted(uid for uid, _, _ in scp.got) == ["1.2.0", "1.2.1", "1.2.1", "1.2.2"]


def test_who_never_answers_is_asked_again_and_the_file_stays(
    ledger: Ledger, spool: Spool, run: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commitment, "_ANSWER_SECONDS", 0.2)
    asked = []
    scp = Scp([(CT, [EXPLICIT]), (COMMITMENT, [EXPLICIT])])
    scp.handlers = [(evt.EVT_N_ACTION, lambda event: asked.append(event) or (0x0000, None))]
    with scp.running():
        put_instance(ledger, spool, "1.2.0")
        run(replace(scp.peer(), commitment=True))
        until(lambda: len(asked) > 1)
        with ledger.write() as connection:
            connection.exec_driver_sql("DELETE FROM jobs")
            assert deliveries.cleanable(connection, 1e11, 9, ["pacs"], ["pacs"]) == []
            assert len(deliveries.cleanable(connection, 1e11, 9, ["pacs"])) == 1


def test_a_destination_that_does_not_do_it_is_told_and_holds_up_nothing(
    ledger: Ledger, spool: Spool, run: Callable[..., Listener]
) -> None:
    with Scp([(CT, [EXPLICIT])]).running() as scp:
        put_instance(ledger, spool, "1.2.0")
        run(replace(scp.peer(), commitment=True))

        def told() -> str | None:
            with ledger.read() as connection:
                return connection.execute(select(transactions.c.error)).scalars().first()

        assert "does not accept the SOP class of storage commitment" in until(told)
        put_instance(ledger, spool, "1.2.1")
        until(lambda: states(ledger).get(("pacs", DeliveryState.SENT)) == 2)


def _whole(uid: str) -> bytes:
    """A data set with what Orthanc wants of one."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = CT, uid
    image.PatientID, image.StudyInstanceUID, image.SeriesInstanceUID = "P", "1.2.9", "1.2.9.1"
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, image)
    return buffer.getvalue()


@pytest.mark.needs_orthanc
def test_orthanc_commits_itself_to_us_and_we_to_orthanc(
    ledger: Ledger, spool: Spool, run: Callable[..., Listener], tmp_path: Path
) -> None:
    port = free_port()
    with Orthanc(tmp_path / "orthanc", modalities={"gateway": ("ORTHANC_AL", port)}) as orthanc:
        peer = Peer(
            "orthanc", orthanc.ae_title, "127.0.0.1", orthanc.dicom_port, ("source", "destination"),
            commitment=True,
        )  # fmt: skip
        run(peer, port=port)
        for number in range(3):
            put_instance(ledger, spool, f"1.2.3.{number}", data=_whole(f"1.2.3.{number}"), to=("orthanc",))
        until(lambda: states(ledger) == {("orthanc", DeliveryState.COMMITTED): 3}, 40)
        # The other way: Orthanc asks us for what we have, and for what we have not.
        with ledger.write() as connection:
            connection.execute(update(rows).values(state="sent"))
        request = {
            "DicomInstances": [
                {"SOPClassUID": CT, "SOPInstanceUID": "1.2.3.0"},
                {"SOPClassUID": CT, "SOPInstanceUID": "1.2.3.1"},
            ]
        }
        asked = orthanc.post("/modalities/gateway/storage-commitment", request)

        def report() -> Any:
            found = orthanc.get(f"/storage-commitment/{asked['ID']}")
            return found if found["Status"] != "Pending" else None

        found = until(report, 40)
        assert found["Status"] == "Success"
        assert len(found["Success"]) == 2
