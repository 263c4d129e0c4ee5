"""What an answer, or none, means for a delivery. Pure."""

import random
from typing import Final

from orthanc_al.dicom import Verdict, describe, verdict
from orthanc_al.forward import backoff
from orthanc_al.forward.channel import Sent
from orthanc_al.ledger.deliveries import Delivery, DeliveryState, Note

_DOUBTFUL_ATTEMPTS: Final = 5


def answered(delivery: Delivery, sent: Sent, time: float) -> Note:
    """Return the note for an answer.

    Parameters
    ----------
    time
        Now, seconds since 1970.
    """
    status = sent.response.status
    words = describe(status, sent.response.comment)
    answer = verdict(status)
    if answer is Verdict.DELIVERED:
        return Note(delivery.id, DeliveryState.SENT, time, status, None, sent.transfer_syntax_uid)
    if answer is Verdict.DELIVERED_WITH_WARNING:
        return Note(delivery.id, DeliveryState.WARNING, time, status, words, sent.transfer_syntax_uid)
    doubted = answer is Verdict.DOUBTFUL and delivery.attempts + 1 >= _DOUBTFUL_ATTEMPTS
    if answer is Verdict.REFUSED or doubted:
        return Note(delivery.id, DeliveryState.REFUSED, time, status, words)
    return postponed(delivery, words, time, status)


def refused(delivery: Delivery, reason: str, time: float) -> Note:
    """Return the note for what can't be delivered at all."""
    return Note(delivery.id, DeliveryState.REFUSED, time, None, reason)


def postponed(delivery: Delivery, reason: str, time: float, status: int | None = None) -> Note:
    """Return the note for what is tried again later: the others go first from now on."""
    wait = backoff.delay(delivery.attempts + 1, random.random())  # noqa: S311 - jitter
    return Note(delivery.id, DeliveryState.WAITING, time + wait, status, reason)
