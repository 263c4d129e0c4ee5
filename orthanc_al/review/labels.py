"""Reads by Orthanc's labels, for sites that trust them (``review.trust_labels``).

``al-confirmed-pos`` and ``al-confirmed-neg`` confirm and reject the finding of a model that looks for one
finding; ``al-confirmed-pos-FINDING`` and ``-neg-FINDING`` name it. ``al-read`` takes a study off the
worklist and says nothing about findings. A label names nobody and makes no entry in Orthanc's changes:
they are polled, and a label that stays is one read.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

from sqlalchemy import Connection

from orthanc_al.domain import ConfirmedRead, ReadSource, ReadValue
from orthanc_al.ledger import Ledger, enqueue, reads, studies
from orthanc_al.observe import Clock, now
from orthanc_al.pipeline import Step
from orthanc_al.review.vocabulary import known_findings

READ: Final = "al-read"
_CONFIRMED: Final = {"al-confirmed-pos": ReadValue.PRESENT, "al-confirmed-neg": ReadValue.ABSENT}


class Labels(Protocol):
    """What is needed of `orthanc_al.orthanc.OrthancClient`."""

    def labelled(self, label: str) -> Iterable[str]:
        """Return the Study Instance UID of each study with a label."""


def poll_labels(ledger: Ledger, orthanc: Labels, clock: Clock = now) -> int:
    """Take in what labels say now; return how many reads and finished studies are new.

    Raises
    ------
    OrthancError
        Orthanc can't be asked.
    """
    with ledger.read() as connection:
        findings = [finding.name for finding in known_findings(connection)]
    said = [
        (uid, finding, value, label)
        for label, finding, value in _meanings(findings)
        for uid in orthanc.labelled(label)
    ]
    finished = list(orthanc.labelled(READ))
    with ledger.write() as connection:
        taken = sum(_take(connection, *one, clock()) for one in said)
        return taken + sum(_finish(connection, uid, clock()) for uid in finished)


def _meanings(findings: Sequence[str]) -> Iterator[tuple[str, str, ReadValue]]:
    """Yield label, finding and value; the short labels mean something only where there is one finding."""
    for label, value in _CONFIRMED.items():
        if len(findings) == 1:
            yield label, findings[0], value
        for finding in findings:
            yield f"{label}-{finding}", finding, value


def _take(connection: Connection, uid: str, finding: str, value: ReadValue, label: str, at: float) -> bool:
    if studies.get(connection, uid) is None:
        return False
    read = ConfirmedRead(uid, finding, value, ReadSource.LABEL, "", at, f"label:{uid}:{label}")
    recorded = reads.record(connection, read, received_at=at, actor="label")
    if recorded.new:
        enqueue(connection, Step.REPORT if recorded.unblinded else Step.MIRROR, uid, at)
    return recorded.new


def _finish(connection: Connection, uid: str, at: float) -> bool:
    study = studies.get(connection, uid)
    # The label stays: it takes a study off once, and images that come later bring it back for good.
    if study is None or not study.state.on_worklist or reads.finished_by(connection, uid, READ):
        return False
    unblinded = reads.finish(connection, uid, at, READ)
    enqueue(connection, Step.REPORT if unblinded else Step.MIRROR, uid, at)
    return True
