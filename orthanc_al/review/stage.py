"""The step ``review``: whether a report that came in is a person's read of a study that we know."""

import struct
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from pydicom.dataset import Dataset
from sqlalchemy import Connection

from orthanc_al.domain import ConfirmedRead, ReadSource
from orthanc_al.errors import InstanceError, ReadError, SpoolFileError
from orthanc_al.imaging.header import header_of
from orthanc_al.imaging.reading import read_header
from orthanc_al.ledger import Job, Ledger, Outcome, instances, reads, reports, selections, studies, trail
from orthanc_al.observe import logger
from orthanc_al.pipeline import Step
from orthanc_al.review.matching import study_of
from orthanc_al.review.parse import ParsedRead, parse
from orthanc_al.review.vocabulary import Vocabulary, known_findings
from orthanc_al.spool import Spool

_log = logger("review")
_MALFORMED: Final = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,  # pydicom's word for an item that is cut off
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class _Found:
    """A report that is a read, and the study that it is about.

    Attributes
    ----------
    read_at
        Seconds since 1970, never after it was received: a clock that is ahead must not make a read the
        last word for as long as it is.
    """

    study_instance_uid: str
    parsed: ParsedRead
    received_at: float
    read_at: float


class ReviewStage:
    """Takes reads from reports.

    Parameters
    ----------
    ledger, spool
        Where studies are, and where the reports are.
    timezone
        Of the site: of dates in reports that name none.
    trust_unnamed
        Whether a report that names no reader counts; else it waits for adjudication.
    """

    def __init__(self, ledger: Ledger, spool: Spool, *, timezone: tzinfo, trust_unnamed: bool) -> None:
        self._ledger = ledger
        self._spool = spool
        self._timezone = timezone
        self._trust_unnamed = trust_unnamed

    def run(self, job: Job) -> Outcome:
        """Look at the instance that is the job's subject; outcome read, unblinded or not_a_read."""
        try:
            found = self._look(job.subject)
        except (ReadError, InstanceError, SpoolFileError) as error:
            return _no_read(job.subject, str(error))
        with self._ledger.read() as connection:
            audit = selections.of_study(connection, found.study_instance_uid).get(selections.AUDIT)
        blind = audit is not None and audit.signed_at is None and not self._waits(found)
        return Outcome(
            "unblinded" if blind else "read",
            lambda connection: self._write(connection, found),
            dict.fromkeys((Step.REPORT, Step.MIRROR), found.study_instance_uid),
        )

    def _look(self, instance_id: str) -> _Found:
        """Read the report and find its study.

        Raises
        ------
        ReadError
            It is no read of a study that we know.
        """
        dataset = read_header(self._spool.path(instance_id))
        with self._ledger.read() as connection:
            known = instances.get(connection, instance_id)
            if known is None:
                raise ReadError("the instance is not known any more")
            vocabulary = Vocabulary.of(known_findings(connection))
            parsed = _parsed(dataset, vocabulary, self._timezone)
            patient_id = header_of(dataset).patient_id
            uid = study_of(connection, parsed, patient_id)
            _check_patient(connection, uid, patient_id)
            if reads.study_of(connection, parsed.sop_instance_uid) not in (None, uid):
                raise ReadError("its SOP Instance UID is that of a report on another study")
            received_at = known.instance.received_at
            read_at = min(received_at if parsed.read_at is None else parsed.read_at, received_at)
            shown_at = reports.last_sr_at(connection, uid)
        if parsed.source is ReadSource.VIEWER_SR and shown_at is not None and read_at <= shown_at:
            raise ReadError("older than the report that it would be an answer to")
        return _Found(uid, parsed, received_at, read_at)

    def _waits(self, found: _Found) -> bool:
        return not found.parsed.reader and not self._trust_unnamed

    def _write(self, connection: Connection, found: _Found) -> None:
        parsed = found.parsed
        for finding, value in parsed.statements.items():
            read = ConfirmedRead(
                study_instance_uid=found.study_instance_uid,
                finding=finding,
                value=value,
                source=parsed.source,
                reader=parsed.reader,
                read_at=found.read_at,
                reference=parsed.sop_instance_uid,
            )
            recorded = reads.record(
                connection,
                read,
                received_at=found.received_at,
                actor=f"report {parsed.sop_instance_uid}",
                waits=self._waits(found),
                supersedes=sorted(parsed.supersedes),
            )
            _log.info(
                "read_taken", study=found.study_instance_uid, finding=finding, state=recorded.state.value
            )


def _no_read(instance_id: str, reason: str) -> Outcome:
    return Outcome(
        "not_a_read",
        lambda connection: trail.record(
            connection, "review", "report_not_a_read", instance_id, reason=reason
        ),
    )


def _check_patient(connection: Connection, uid: str, patient_id: str) -> None:
    """Refuse a report about somebody else, and one on images that are not one person's.

    Raises
    ------
    ReadError
        Whose read it is can't be told.
    """
    known = studies.patient_id(connection, uid)
    if patient_id and known and patient_id != known:
        raise ReadError("names another patient than the images that it refers to")
    study = studies.get(connection, uid)
    if study is not None and study.reason == studies.TWO_PATIENTS:
        raise ReadError("refers to a study with images of two patients")


def _parsed(dataset: Dataset, vocabulary: Vocabulary, timezone: tzinfo) -> ParsedRead:
    """Parse a report by others; pydicom converts values when they are asked for, and raises what it likes."""
    try:
        dataset.decode()
        return parse(dataset, vocabulary, timezone)
    except _MALFORMED as error:
        raise ReadError(f"its content can't be parsed ({type(error).__name__})") from error
