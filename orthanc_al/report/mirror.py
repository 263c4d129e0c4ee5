"""The step ``mirror``: the place on the worklist in Orthanc's metadata, and the tier as a label."""

from collections.abc import Collection
from typing import Final, Protocol

from sqlalchemy import Connection

from orthanc_al.domain import StudyState, Tier
from orthanc_al.errors import OrthancError
from orthanc_al.ledger import Job, Ledger, Outcome, predictions, reports, studies

_TIERS: Final = {Tier.HIGH: "al-high", Tier.REVIEW: "al-review", Tier.LOW: "al-low"}
OUT_OF_DOMAIN: Final = "al-ood"
LABELS: Final = frozenset({*_TIERS.values(), OUT_OF_DOMAIN})
"""The labels that we write; all others are the site's."""


class HasLabels(Protocol):
    """What an Orthanc says it can do."""

    @property
    def has_labels(self) -> bool:
        """Whether there are labels."""


class Mirror(Protocol):
    """What is needed of `orthanc_al.orthanc.OrthancClient`."""

    def capabilities(self) -> HasLabels:
        """Ask what it can do."""

    def find_study(self, study_instance_uid: str) -> str | None:
        """Return its own id of a study."""

    def put_read_by(self, orthanc_id: str, minutes: int) -> bool:
        """Write when a study is to be read, in minutes since 1970."""

    def put_labels(self, orthanc_id: str, wanted: Collection[str], ours: Collection[str]) -> None:
        """Make ``wanted`` the only ones of ``ours``."""


class MirrorStage:
    """Writes what may be shown of a study into Orthanc.

    Parameters
    ----------
    ledger
        Where the study is.
    orthanc
        None where there is none.
    """

    def __init__(self, ledger: Ledger, orthanc: Mirror | None) -> None:
        self._ledger = ledger
        self._orthanc = orthanc

    def run(self, job: Job) -> Outcome:
        """Mirror the study that is the job's subject; outcome mirrored, or absent without an Orthanc.

        Raises
        ------
        OrthancError
            Orthanc can't be asked, or does not have the study yet.
        """
        if self._orthanc is None:
            return Outcome("absent")
        with self._ledger.read() as connection:
            study = studies.get(connection, job.subject)
            if study is None:
                return Outcome("absent")
            # Every study has its place there, a blind one that of a study without a score: one that
            # had none would fall out of the order, and so be read at another time than it should.
            told = study.state is StudyState.SCORED and reports.may_leave(connection, job.subject)
            wanted = labels_of(connection, job.subject) if told else set()
        # Else the power might take back that it was no blind case, after its tier was shown.
        self._ledger.sync()
        orthanc_id = self._orthanc.find_study(job.subject)
        if orthanc_id is None:
            raise OrthancError(
                f"Orthanc does not have study {job.subject} yet: is it a peer with the role destination?"
            )
        self._orthanc.put_read_by(orthanc_id, study.read_by)
        if self._orthanc.capabilities().has_labels:
            self._orthanc.put_labels(orthanc_id, wanted, LABELS)
        return Outcome(
            "mirrored", lambda connection: reports.note_orthanc_id(connection, job.subject, orthanc_id)
        )


def labels_of(connection: Connection, study_instance_uid: str) -> set[str]:
    """Return the labels of a study whose results may be shown: those of its most urgent tier."""
    found = predictions.latest(connection, study_instance_uid)
    tiers = {one.prediction.tier for one in found}
    outside = {OUT_OF_DOMAIN} if any(one.prediction.ood > 1 for one in found) else set()
    return outside | {label for tier, label in _TIERS.items() if tier == _most_urgent(tiers)}


def _most_urgent(tiers: Collection[Tier]) -> Tier:
    return next((tier for tier in Tier if tier in tiers), Tier.NONE)
