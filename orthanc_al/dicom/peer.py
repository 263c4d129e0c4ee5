"""A DICOM peer, and whether it is there."""

import ssl
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from orthanc_al.dicom.association import Association, Proposal
from orthanc_al.dicom.command import VERIFICATION_SOP_CLASS_UID
from orthanc_al.dicom.statuses import describe
from orthanc_al.errors import PeerRefusedError

_IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer of the configuration.

    Attributes
    ----------
    name
        What deliveries are kept by.
    roles
        ``source``, ``destination``, ``results``.
    associations
        How many we may have with it at once, to send.
    timeout_seconds
        How long it may take for an answer.
    transfer_syntaxes
        Which it takes, where that is configured; empty: it is asked.
    query
        Whether it is asked how many instances a study has (C-FIND).
    commitment
        Whether it is asked to commit itself to what we send (PS3.4 annex J).
    tls
        How TLS is spoken with it; None: not at all.
    """

    name: str
    ae_title: str
    host: str
    port: int
    roles: Collection[str] = ()
    associations: int = 1
    timeout_seconds: float = 60.0
    transfer_syntaxes: Sequence[str] = ()
    query: bool = False
    commitment: bool = False
    tls: ssl.SSLContext | None = None


def echo(peer: Peer, calling_ae: str, timeout: float = 5.0) -> None:
    """Ask a peer whether it is there (C-ECHO, PS3.7 9.1.5).

    Parameters
    ----------
    timeout
        For each step, in seconds.

    Raises
    ------
    PeerUnreachableError
        No association; the text says why.
    PeerRefusedError
        It answers, but not with success.
    """
    proposal = Proposal(VERIFICATION_SOP_CLASS_UID, (_IMPLICIT_VR_LITTLE_ENDIAN,))
    with Association.open(
        peer.host,
        peer.port,
        called_ae=peer.ae_title,
        calling_ae=calling_ae,
        proposals=[proposal],
        connect_timeout=timeout,
        answer_timeout=timeout,
        tls=peer.tls,
    ) as association:
        response = association.echo()
    if response.status != 0:
        raise PeerRefusedError(
            f"{peer.name} answers C-ECHO with {describe(response.status, response.comment)}"
        )
