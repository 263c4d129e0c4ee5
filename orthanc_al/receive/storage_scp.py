"""The listener: a Storage SCP (PS3.4 annex B) with C-ECHO, on pynetdicom's acceptor."""

import socket
import ssl
import uuid
import weakref
from collections.abc import Sequence
from typing import Any

from pynetdicom import evt
from pynetdicom.pdu_primitives import A_RELEASE
from sqlalchemy.exc import SQLAlchemyError

from orthanc_al.dicom import Peer
from orthanc_al.dicom.acceptor import Acceptor, Preference
from orthanc_al.dicom.command import StoreRequest
from orthanc_al.dicom.inbox import DataPath, Incoming
from orthanc_al.domain import Origin
from orthanc_al.ledger import Ledger, associations
from orthanc_al.observe import logger, now
from orthanc_al.receive.intake import Intake
from orthanc_al.receive.policy import Accept, Decision, decide
from orthanc_al.receive.recorder import Recorder
from orthanc_al.receive.recovery import recover
from orthanc_al.receive.services import SOP_CLASS_UIDS, Refusing, Services
from orthanc_al.receive.session import Session
from orthanc_al.spool import Spool

_REJECTED_PERMANENT, _BY_SERVICE_USER = 0x01, 0x01  # PS3.8 9.3.4

_log = logger("receive")


class Listener:
    """Takes instances from peers into the spool and the ledger.

    Parameters
    ----------
    ae_title, host, port
        Where we listen, and as whom.
    peers
        All configured peers; who of them may send is told by the role ``source``.
    accept
        ``listed``, ``observe`` or ``any`` (`orthanc_al.receive.policy`).
    spool, ledger
        Where instances go.
    destinations
        Names of the peers that get every instance.
    maximum_associations
        How many at once.
    prepared_files
        How many files the spool has ready (`orthanc_al.spool.Spool.prepare`).
    data_path
        ``fast`` or ``plain`` (`orthanc_al.dicom.acceptor`).
    preference
        Which of the transfer syntaxes that a requestor proposes are accepted; None: its first one.
    tls, tls_port
        How, and on which port, TLS is spoken beside the port without; None: nowhere.
    """

    def __init__(
        self,
        *,
        ae_title: str,
        host: str,
        port: int,
        peers: Sequence[Peer],
        accept: Accept,
        spool: Spool,
        ledger: Ledger,
        destinations: Sequence[str],
        maximum_associations: int = 64,
        prepared_files: int = 64,
        data_path: DataPath = "fast",
        preference: Preference | None = None,
        tls: ssl.SSLContext | None = None,
        tls_port: int = 0,
    ) -> None:
        self._ae_title = ae_title
        self._peers = tuple(peers)
        self._accept = accept
        self._spool = spool
        self._ledger = ledger
        self._destinations = tuple(destinations)
        self._prepared_files = prepared_files
        self._recorder = Recorder(ledger, spool, destinations)
        self._intake = Intake(spool, self._recorder)
        self._sessions: weakref.WeakKeyDictionary[Any, Session] = weakref.WeakKeyDictionary()
        services = Services(ledger, lambda association: self._sessions[association].origin.source)
        self._acceptors = [
            Acceptor(
                ae_title,
                host,
                place,
                maximum_associations,
                [
                    (evt.EVT_REQUESTED, self._on_requested),
                    (evt.EVT_DIMSE_RECV, self._on_message),
                    (evt.EVT_ACSE_RECV, self._on_acse),
                    (evt.EVT_CONN_CLOSE, self._on_closed),
                    *services.handlers(),
                ],
                services=SOP_CLASS_UIDS,
                inbox=self._begin,
                data_path=data_path,
                preference=preference,
                tls=how,
            )
            for place, how in [(port, None), *([(tls_port, tls)] if tls is not None else [])]
        ]

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._acceptors[0].port

    @property
    def tls_port(self) -> int | None:
        """The port that it listens on with TLS, None where there is none."""
        return self._acceptors[1].port if len(self._acceptors) > 1 else None

    @property
    def data_path(self) -> DataPath:
        """By which data path it receives."""
        return self._acceptors[0].data_path

    @property
    def objection(self) -> str | None:
        """Why it does not use the fast data path though it was to; None where it does as it was told."""
        return self._acceptors[0].objection

    def start(self) -> None:
        """Rebuild what an earlier listener left undone, then take associations."""
        # Instances first: a study is held open by its associations, and not to be complete without them.
        recover(self._spool, self._ledger, self._destinations)
        with self._ledger.write() as connection:
            lost = associations.lose_open(connection)
        if lost:
            _log.warning("associations_lost", associations=lost)
        self._spool.prepare(self._prepared_files)
        self._recorder.start()
        for acceptor in self._acceptors:
            acceptor.start()
        _log.info(
            "listener_started",
            ae_title=self._ae_title,
            port=self.port,
            tls_port=self.tls_port,
            accept=self._accept,
            data_path=self.data_path,
        )

    def stop(self) -> None:
        """Take nothing new; what was acknowledged is safe."""
        for acceptor in self._acceptors:
            acceptor.stop()
        self._recorder.stop()
        self._spool.stop_preparing()

    def _on_requested(self, event: Any) -> None:
        association = event.assoc
        request = association.requestor.primitive
        calling, called = request.calling_ae_title.strip(), request.called_ae_title.strip()
        address = association.requestor.address
        decision = decide(
            self._accept,
            self._peers,
            [_addresses(peer, calling) for peer in self._peers],
            own_ae=self._ae_title,
            calling_ae=calling,
            called_ae=called,
            address=address,
            encrypted=isinstance(association.dul.socket.socket, ssl.SSLSocket),
        )
        if decision.objection is not None:
            self._note_refusal(decision, calling, called, address)
        if not decision.admitted:
            association.acse.send_reject(_REJECTED_PERMANENT, _BY_SERVICE_USER, int(decision.diagnostic))
            association.kill()
            return
        origin = Origin(calling, called, self._ae_title, decision.source, uuid.uuid4().hex, "dicom")
        self._sessions[association] = Session(origin, address, now(), decision.may_store)

    def _note_refusal(self, decision: Decision, calling: str, called: str, address: str) -> None:
        _log.warning(
            "caller_not_listed" if decision.admitted else "association_refused",
            calling_ae=calling,
            called_ae=called,
            address=address,
            reason=decision.objection,
        )
        try:
            with self._ledger.write() as connection:
                associations.refuse(
                    connection,
                    calling,
                    called,
                    address,
                    decision.objection or "",
                    observed_only=decision.admitted,
                )
        except SQLAlchemyError as error:
            _log.error("refusal_not_written", error=str(error))

    def _begin(self, association: Any, request: StoreRequest) -> Incoming:
        session = self._sessions[association]
        return self._intake.open(session, request) if session.may_store else Refusing()

    def _on_message(self, event: Any) -> None:
        """Abort on a C-STORE request without a UID or data set, which pynetdicom would leave unanswered."""
        message = event.message
        if type(message).__name__ != "C_STORE_RQ":
            return
        command = message.command_set
        if not (command.get("AffectedSOPInstanceUID") and command.get("AffectedSOPClassUID")) or (
            command.get("CommandDataSetType") == 0x0101
        ):
            _log.error("store_request_incomplete", source=self._sessions[event.assoc].origin.source)
            event.assoc.abort()

    def _on_acse(self, event: Any) -> None:
        session = self._sessions.get(event.assoc)
        if session is not None and isinstance(event.primitive, A_RELEASE):
            # All its requests have been answered by now: it is what a peer releases after.
            self._recorder.ended(session, "released")

    def _on_closed(self, event: Any) -> None:
        session = self._sessions.get(event.assoc)
        if session is not None:
            self._recorder.ended(session, "aborted")


def _addresses(peer: Peer, calling_ae: str) -> frozenset[str]:
    """Return the IP addresses of a peer, none where its name is not known just now.

    Only of the one that calls: a name server that is slow for another must not hold it up.
    """
    if peer.ae_title.strip() != calling_ae:
        return frozenset()
    try:
        return frozenset(str(entry[4][0]) for entry in socket.getaddrinfo(peer.host, None))
    except OSError:
        return frozenset()
