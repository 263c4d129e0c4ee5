"""What is proposed and accepted when an association is opened; pynetdicom encodes and decodes the PDUs."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext

from orthanc_al.domain.identity import IMPLEMENTATION_CLASS_UID

MAXIMUM_CONTEXTS: Final = 128  # context ids are the odd numbers of a byte (PS3.8 9.3.2.2)
_APPLICATION_CONTEXT_NAME: Final = "1.2.840.10008.3.1.1.1"
_MAXIMUM_LENGTH: Final = 131072
_AC, _RJ = 0x02, 0x03
_PERMANENT: Final = 0x01


@dataclass(frozen=True, slots=True)
class Proposal:
    """A presentation context that we propose: a SOP class, and transfer syntaxes in order of preference."""

    sop_class_uid: str
    transfer_syntax_uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context that the peer accepted."""

    id: int
    sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """An A-ASSOCIATE-AC: its contexts, and the longest PDU that the peer takes (0: any)."""

    contexts: list[Context]
    maximum_length: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """An A-ASSOCIATE-RJ in words, and whether asking again is of no use (PS3.8 9.3.4)."""

    why: str
    permanent: bool


def request(called_ae: str, calling_ae: str, proposals: Sequence[Proposal]) -> bytes:
    """Return an A-ASSOCIATE-RQ (PS3.8 9.3.2).

    Raises
    ------
    ValueError
        There is no proposal, or more than 128.
    """
    if not 1 <= len(proposals) <= MAXIMUM_CONTEXTS:
        raise ValueError(f"an association has 1 to {MAXIMUM_CONTEXTS} contexts, not {len(proposals)}")
    contexts = []
    for number, proposal in enumerate(proposals):
        context = PresentationContext()
        context.context_id = 2 * number + 1
        context.abstract_syntax = proposal.sop_class_uid
        context.transfer_syntax = list(proposal.transfer_syntax_uids)
        contexts.append(context)
    length = MaximumLengthNotification()
    length.maximum_length_received = _MAXIMUM_LENGTH
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    primitive: Any = A_ASSOCIATE()
    primitive.application_context_name = _APPLICATION_CONTEXT_NAME
    primitive.calling_ae_title = calling_ae
    primitive.called_ae_title = called_ae
    primitive.presentation_context_definition_list = contexts
    primitive.user_information = [length, implementation]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


def answer(kind: int, body: bytes, proposals: Sequence[Proposal]) -> Accepted | Rejected:
    """Read the answer to a request.

    Parameters
    ----------
    kind, body
        The PDU's type, and its bytes behind the header.

    Raises
    ------
    ValueError
        It is neither A-ASSOCIATE-AC nor A-ASSOCIATE-RJ, or can't be read as that.
    """
    if kind not in (_AC, _RJ):
        raise ValueError(f"a PDU of type {kind:02X}H is no answer to an association request")
    try:
        pdu: Any = A_ASSOCIATE_AC() if kind == _AC else A_ASSOCIATE_RJ()
        pdu.decode(struct.pack(">BBL", kind, 0, len(body)) + body)
        if kind == _RJ:
            return Rejected(f"{pdu.result_str}, {pdu.reason_str}", pdu.result == _PERMANENT)
        primitive: Any = pdu.to_primitive()
        return Accepted(_contexts(primitive, proposals), primitive.maximum_length_received or 0)
    except Exception as error:  # pynetdicom's decoder raises anything for what is not a PDU
        raise ValueError(f"its answer can't be read ({error!r})") from error


def _contexts(accept: Any, proposals: Sequence[Proposal]) -> list[Context]:
    return [
        Context(
            result.context_id,
            proposals[(result.context_id - 1) // 2].sop_class_uid,
            str(result.transfer_syntax[0]),
        )
        for result in accept.presentation_context_definition_results_list
        if result.result == 0x00
    ]
