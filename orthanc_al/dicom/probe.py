"""Asking a destination which transfer syntaxes it takes, by an association that sends nothing."""

from collections.abc import Mapping, Sequence
from typing import Final

from orthanc_al.dicom.association import Association, Proposal
from orthanc_al.dicom.peer import Peer

# What modalities send most, by SOP class; classes by syntaxes stay below 128 contexts.
SOP_CLASSES: Final = (
    "1.2.840.10008.5.1.4.1.1.1",  # CR
    "1.2.840.10008.5.1.4.1.1.1.1",  # DX
    "1.2.840.10008.5.1.4.1.1.1.2",  # MG
    "1.2.840.10008.5.1.4.1.1.13.1.3",  # breast tomosynthesis
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.2.1",  # enhanced CT
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.4.1",  # enhanced MR
    "1.2.840.10008.5.1.4.1.1.6.1",  # US
    "1.2.840.10008.5.1.4.1.1.3.1",  # US multi-frame
    "1.2.840.10008.5.1.4.1.1.12.1",  # XA
    "1.2.840.10008.5.1.4.1.1.128",  # PET
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
)
TRANSFER_SYNTAXES: Final = (
    "1.2.840.10008.1.2",  # implicit VR little endian
    "1.2.840.10008.1.2.1",  # explicit VR little endian
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.70",  # JPEG lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
)


def probe(peer: Peer, calling_ae: str) -> Mapping[str, Sequence[str]]:
    """Return, by SOP class, the transfer syntaxes of `TRANSFER_SYNTAXES` that a destination accepts.

    Each in a context of its own, since an acceptor takes one of a context (PS3.8 9.3.3.2).

    Raises
    ------
    PeerUnreachableError
        No association.
    """
    with Association.open(
        peer.host,
        peer.port,
        called_ae=peer.ae_title,
        calling_ae=calling_ae,
        proposals=[Proposal(one, (syntax,)) for one in SOP_CLASSES for syntax in TRANSFER_SYNTAXES],
        answer_timeout=peer.timeout_seconds,
        tls=peer.tls,
    ) as association:
        found: dict[str, list[str]] = {one: [] for one in SOP_CLASSES}
        for context in association.contexts:
            found[context.sop_class_uid].append(context.transfer_syntax_uid)
    return found
