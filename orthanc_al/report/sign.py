"""The step ``sign``: what a reader said by page or API leaves as a verified report, as any result does."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final

from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage
from sqlalchemy import Connection

from orthanc_al.domain import Finding, ReadValue, derived_uid
from orthanc_al.errors import InstanceError, ReadError, SpoolFileError
from orthanc_al.imaging.reading import read_header
from orthanc_al.ledger import Job, Ledger, Outcome, instances, reports, statements, worklist
from orthanc_al.ledger.instances import KnownInstance
from orthanc_al.ledger.reports import OwnReport
from orthanc_al.report.evidence import evidence
from orthanc_al.report.objects import Outbox, OwnObject, Sending
from orthanc_al.report.read_report import SERIES_NUMBER, SignedRead, read_report
from orthanc_al.report.result import Identity, Sources
from orthanc_al.spool import Spool, own_instance_id

_NOT_NAMED: Final = "(not named)"
KnownFindings = Callable[[Connection], Collection[Finding]]


@dataclass(frozen=True, slots=True)
class _View:
    """What the ledger says that bears on the report of a read."""

    rows: Sequence[Mapping[str, Any]]
    images: Sequence[KnownInstance]
    entry: worklist.Entry
    findings: Mapping[str, Finding]
    predecessors: Sequence[Dataset]


class SignStage:
    """Writes verified reports of reads that were given here.

    Parameters
    ----------
    ledger, spool
        Where reads and images are, and where objects go.
    ae_title, peers, software_version
        As `orthanc_al.report.ReportStage`.
    organization
        The site's name, for the Verifying Organization.
    timezone
        Of the site.
    findings
        Returns what the models of a ledger look for, with the codes.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        *,
        ae_title: str,
        peers: Sequence[str],
        organization: str,
        timezone: tzinfo,
        software_version: str,
        findings: KnownFindings,
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._outbox = Outbox(spool, ae_title, peers)
        self._organization = organization or _NOT_NAMED
        self._timezone = timezone
        self._version = software_version
        self._findings = findings

    def run(self, job: Job) -> Outcome:
        """Report the read whose reference is the job's subject; outcome signed or silent.

        Raises
        ------
        ReadError
            The code of a finding is not known any more.
        """
        with self._ledger.read() as connection:
            view = self._look(connection, job.subject)
        if view is None or not self._outbox.peers:
            return Outcome("silent")
        made = self._object(job.subject, view)
        return Outcome("signed", Sending(self._outbox, [made]))

    def _look(self, connection: Connection, reference: str) -> _View | None:
        rows = statements.of_reference(connection, reference)
        if not rows:
            return None
        uid = rows[0]["study_instance_uid"]
        entry = worklist.get(connection, uid)
        images = instances.images_of(instances.of_study(connection, uid))
        if entry is None or not images:
            return None
        return _View(
            rows=rows,
            images=images,
            entry=entry,
            findings={finding.name: finding for finding in self._findings(connection)},
            predecessors=_predecessors(connection, uid, rows[0]),
        )

    def _object(self, reference: str, view: _View) -> OwnObject:
        first = view.rows[0]
        uid = first["study_instance_uid"]
        identity = Identity(reference, derived_uid(uid, "read", "series"), SERIES_NUMBER)
        signed_at = datetime.fromtimestamp(first["read_at"], self._timezone)
        read = SignedRead(
            statements={_finding(view, row["finding"]): ReadValue(row["value"]) for row in view.rows},
            reader=first["reader"],
            organization=self._organization,
            comment=first["comment"],
            signed_at=signed_at,
            device_uid=self._outbox.device_uid,
            software_version=self._version,
        )
        sources = Sources([self._source(known, view.entry) for known in view.images])
        document = read_report(read, sources, identity, view.predecessors)
        row = OwnReport(
            sop_instance_uid=reference,
            kind="read",
            study_instance_uid=uid,
            revision=first["revision"],
            model_digest="",
            predecessor=view.predecessors[0].SOPInstanceUID if view.predecessors else None,
            instance_id=own_instance_id(reference),
            created_at=first["read_at"],
        )
        return OwnObject(row, self._outbox.store(document, row.instance_id))

    def _source(self, known: KnownInstance, entry: worklist.Entry) -> Dataset:
        """Return what an image says of itself; where its file has left the spool, what the ledger knows."""
        try:
            return evidence(read_header(self._spool.path(known.instance.id)))
        except (InstanceError, SpoolFileError):
            return evidence(_header_of(known, entry))


def _finding(view: _View, name: str) -> Finding:
    try:
        return view.findings[name]
    except KeyError as error:
        raise ReadError(
            f"No model of this ledger looks for {name!r} any more: the read of study "
            f"{view.entry.study_instance_uid} counts, but its report can't be coded."
        ) from error


def _header_of(known: KnownInstance, entry: worklist.Entry) -> Dataset:
    header = Dataset()
    header.SOPClassUID = known.instance.sop_class_uid
    header.SOPInstanceUID = known.instance.sop_instance_uid
    header.StudyInstanceUID = known.instance.study_instance_uid
    header.SeriesInstanceUID = known.instance.series_instance_uid
    header.Modality = known.instance.modality or entry.modality
    header.PatientName, header.PatientID = entry.patient_name, entry.patient_id
    header.PatientBirthDate, header.PatientSex = entry.birth_date, entry.sex
    header.AccessionNumber, header.StudyDate = entry.accession_number, entry.study_date
    header.StudyDescription = entry.description
    return header


def _predecessors(connection: Connection, uid: str, row: Mapping[str, Any]) -> list[Dataset]:
    """Return the model's reports that she had before her, and the reports that this read replaces."""
    wanted = list(row["supersedes"])
    if row["ai_shown"]:
        wanted = [*reports.results_before(connection, uid, row["read_at"]), *wanted]
    found = []
    for sop_instance_uid in dict.fromkeys(wanted):
        known = instances.of_sop(connection, sop_instance_uid)
        if known:
            found.append(_reference(uid, known[0]))
        elif reports.is_read(connection, sop_instance_uid, uid):  # said, but its own report is still to come
            found.append(_to_come(uid, sop_instance_uid))
    return found


def _reference(uid: str, known: KnownInstance) -> Dataset:
    reference = Dataset()
    reference.SOPClassUID = known.instance.sop_class_uid
    reference.SOPInstanceUID = known.instance.sop_instance_uid
    reference.StudyInstanceUID = known.instance.study_instance_uid or uid
    reference.SeriesInstanceUID = known.instance.series_instance_uid
    return reference


def _to_come(uid: str, sop_instance_uid: str) -> Dataset:
    reference = Dataset()
    reference.SOPClassUID = Comprehensive3DSRStorage
    reference.SOPInstanceUID = sop_instance_uid
    reference.StudyInstanceUID = uid
    reference.SeriesInstanceUID = derived_uid(uid, "read", "series")
    return reference
