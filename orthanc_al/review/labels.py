"""What Orthanc's labels say: a study is read, and, for sites that trust them, what was found.

``al-read`` takes a study off the worklist and says nothing about findings. With ``review.trust_labels``,
``al-confirmed-pos`` and ``al-confirmed-neg`` confirm and reject the finding of a model that looks for one
finding; ``al-confirmed-pos-FINDING`` and ``-neg-FINDING`` name it. A label names nobody and makes no entry
in Orthanc's changes: they are polled, and a label that stays is one read.
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


def poll_labels(ledger: Ledger, orthanc: Labels, clock: Clock = now, *, trusted: bool = True) -> int:
    """Take in what labels say now; return how many reads and finished studies are new.

    Parameters
    ----------
    trusted
        Whether labels count as reads; ``al-read`` finishes a study all the same.

    Raises
    ------
    OrthancError
        Orthanc can't be asked.
    """
    with ledger.read() as connection:
        findings = [finding.name for finding in known_findings(connection)] if trusted else []
    said = [
        (uid, finding, value, label)
        for label, finding, value in _meanings(findings)
        for uid in orthanc.labelled(label)
    ]
    finished = set(orthanc.labelled(READ))
    with ledger.read() as connection:  # most polls tell nothing new and must not take the write lock
        gone = [uid for uid in reads.finished_and_open(connection, READ) if uid not in finished]
        new = [uid for uid in sorted(finished) if _may_finish(connection, uid)]
    if not (said or gone or new):
        return 0
    with ledger.write() as connection:
        for uid in gone:
            reads.take_back_finish(connection, uid, READ)
        taken = sum(_take(connection, *one, clock()) for one in said)
        return taken + sum(_finish(connection, uid, clock()) for uid in new)


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


def _may_finish(connection: Connection, uid: str) -> bool:
    """Whether the label on a study is news.

    It takes a study off once: images that come later bring it back, label or not, until the label was
    taken off and put on again.
    """
    study = studies.get(connection, uid)
    return study is not None and study.state.on_worklist and not reads.finished_by(connection, uid, READ)


def _finish(connection: Connection, uid: str, at: float) -> bool:
    if not _may_finish(connection, uid):
        return False
    unblinded = reads.finish(connection, uid, at, READ)
    enqueue(connection, Step.REPORT if unblinded else Step.MIRROR, uid, at)
    return True
