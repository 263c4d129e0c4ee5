"""A destination's association: opened when needed, kept while there is work, reopened when it is gone."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from orthanc_al.dicom import Association, Context, Peer, Proposal
from orthanc_al.dicom.association import MAXIMUM_CONTEXTS
from orthanc_al.dicom.command import Response
from orthanc_al.dicom.transcode import UNCOMPRESSED, transcode
from orthanc_al.domain import Instance
from orthanc_al.errors import PeerRefusedError, PeerUnreachableError, UndecodableError

_UID: Final = re.compile(r"[0-9.]{1,64}")

Need = tuple[str, str]  # SOP class and transfer syntax


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of sending; ``transfer_syntax_uid`` is None where it went as it came."""

    response: Response
    transfer_syntax_uid: str | None


class Channel:
    """Sends data sets to one destination.

    Each SOP class is proposed in the very syntax that its instances came in, and, in a context of its
    own, uncompressed: a destination that refuses the one is sent a copy in the other.

    Parameters
    ----------
    peer
        The destination.
    calling_ae
        Our AE title.
    opening_timeout
        Seconds to wait for the answer to an association request, the peer's own where None.
    """

    def __init__(self, peer: Peer, calling_ae: str, opening_timeout: float | None = None) -> None:
        self._peer = peer
        self._opening_timeout = opening_timeout
        self._calling_ae = calling_ae
        self._association: Association | None = None
        self._needs: dict[Need, None] = {}  # what was proposed, the latest needed last
        self._fresh = False

    @property
    def is_open(self) -> bool:
        """Whether there is an association."""
        return self._association is not None

    def covers(self, instance: Instance) -> bool:
        """Whether the association was made for what this instance needs."""
        need = _need(instance)
        return need is None or (self._association is not None and need in self._needs)

    def prepare(self, instances: Iterable[Instance]) -> None:
        """See to an association with contexts for these instances.

        Raises
        ------
        PeerUnreachableError
            None can be had.
        """
        needs = dict.fromkeys(need for need in map(_need, instances) if need is not None)
        if self._association is not None and needs.keys() <= self._needs.keys():
            return
        self.close()
        kept = {need: None for need in self._needs if need not in needs} | needs
        proposals, self._needs = _proposals(kept)
        if not proposals:
            return
        self._association = Association.open(
            self._peer.host,
            self._peer.port,
            called_ae=self._peer.ae_title,
            calling_ae=self._calling_ae,
            proposals=proposals,
            opening_timeout=self._opening_timeout,
            answer_timeout=self._peer.timeout_seconds,
            tls=self._peer.tls,
        )
        self._fresh = True

    def send(self, instance: Instance, data_set: memoryview) -> Sent:
        """Send one instance that `prepare` knew of, and return the answer.

        Raises
        ------
        PeerRefusedError
            The destination takes it in no syntax that it can be given in.
        PeerUnreachableError
            The association ended on the way; nobody knows whether it arrived.
        """
        if _need(instance) is None:
            raise PeerRefusedError(
                f"SOP class {instance.sop_class_uid!r} or transfer syntax {instance.transfer_syntax_uid!r} "
                "is no UID: there is nothing to propose it as"
            )
        try:
            return self._send(instance, data_set)
        except PeerUnreachableError:
            stale, self._fresh = not self._fresh, False
            self.drop()
            if not stale:
                raise
        # It had been idle, and peers close idle associations: that is no failure yet.
        self.prepare([instance])
        try:
            return self._send(instance, data_set)
        except PeerUnreachableError:
            self.drop()
            raise

    def close(self) -> None:
        """Release the association."""
        if self._association is not None:
            self._association.release()
            self._association = None

    def drop(self) -> None:
        """Abort the association."""
        if self._association is not None:
            self._association.abort()
            self._association = None

    def interrupt(self) -> None:
        """End the association under the hands of the thread that waits for an answer."""
        association = self._association
        if association is not None:
            association.interrupt()

    def _send(self, instance: Instance, data_set: memoryview) -> Sent:
        association = self._association
        if association is None:
            raise PeerUnreachableError(f"there is no association with {self._peer.name}")
        context = association.context(instance.sop_class_uid, instance.transfer_syntax_uid)
        if context is not None:
            response = association.store(context, instance.sop_instance_uid, data_set)
            self._fresh = False
            return Sent(response, None)
        context = self._fallback(association, instance)
        try:
            copy = transcode(data_set, instance.transfer_syntax_uid, context.transfer_syntax_uid)
        except UndecodableError as error:
            raise PeerRefusedError(
                f"{self._peer.name} does not accept transfer syntax {instance.transfer_syntax_uid}, "
                f"and {error}"
            ) from error
        return Sent(association.store(context, instance.sop_instance_uid, copy), context.transfer_syntax_uid)

    def _fallback(self, association: Association, instance: Instance) -> Context:
        for syntax in UNCOMPRESSED:
            context = association.context(instance.sop_class_uid, syntax)
            if context is not None:
                return context
        raise PeerRefusedError(f"{self._peer.name} does not accept SOP class {instance.sop_class_uid}")


def _need(instance: Instance) -> Need | None:
    need = (instance.sop_class_uid, instance.transfer_syntax_uid)
    return need if all(_UID.fullmatch(uid) for uid in need) else None


def _proposals(needs: dict[Need, None]) -> tuple[list[Proposal], dict[Need, None]]:
    """Return the contexts for as many needs as one association has room for, the latest first of all."""
    proposals: dict[Proposal, None] = {}
    taken: dict[Need, None] = {}
    for sop_class, syntax in reversed(needs):
        wanted = dict.fromkeys([Proposal(sop_class, (syntax,)), Proposal(sop_class, UNCOMPRESSED)])
        if len(proposals | wanted) > MAXIMUM_CONTEXTS:
            break
        proposals |= wanted
        taken = {(sop_class, syntax): None} | taken
    return list(proposals), taken
