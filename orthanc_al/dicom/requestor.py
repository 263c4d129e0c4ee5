"""Associations of pynetdicom that we request, for the services that it knows better: commitment, C-FIND."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom import ae as ae_module
from pynetdicom.transport import AssociationSocket

from orthanc_al.dicom.faults import Fault
from orthanc_al.dicom.peer import Peer
from orthanc_al.errors import PeerRefusedError, PeerUnreachableError

_SYNTAXES: Final = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_CONNECT_SECONDS: Final = 10.0


class _Closing(AssociationSocket):
    """Closes its socket also where the peer was first to; pynetdicom 3.0 leaves it open then."""

    def _shutdown_socket(self) -> None:
        connected = self.socket
        super()._shutdown_socket()
        if connected is not None:
            connected.close()


# AE.associate makes it by this name.
vars(ae_module)["AssociationSocket"] = _Closing


@contextmanager
def associated(
    peer: Peer,
    calling_ae: str,
    sop_class_uid: str,
    what: str,
    roles: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
) -> Iterator[Any]:
    """Open an association of pynetdicom with one SOP class, and release it at the end.

    Parameters
    ----------
    what
        The SOP class in words, for who reads the error.
    roles, handlers
        As pynetdicom takes them.

    Raises
    ------
    PeerUnreachableError
        No association.
    PeerRefusedError
        It does not accept the SOP class.
    """
    ae = AE(calling_ae)
    ae.connection_timeout = _CONNECT_SECONDS
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = peer.timeout_seconds
    ae.add_requested_context(sop_class_uid, _SYNTAXES)
    association = ae.associate(
        peer.host,
        peer.port,
        ae_title=peer.ae_title,
        ext_neg=list(roles),
        evt_handlers=list(handlers),
        tls_args=(peer.tls, peer.host) if peer.tls is not None else None,
    )
    if association.is_established:
        try:
            yield association
            return
        finally:
            association.release()
    if association.is_rejected:
        raise PeerUnreachableError(f"{peer.name} rejects the association", Fault.REJECTED_TRANSIENT)
    if association.acceptor.primitive is not None:
        raise PeerRefusedError(f"{peer.name} does not accept the SOP class of {what}")
    raise PeerUnreachableError(
        f"{peer.name} can't be reached at {peer.host}:{peer.port}", Fault.NO_CONNECTION
    )
