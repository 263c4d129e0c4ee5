"""The step ``report``: what may be told of a study leaves as SR and KOS, through the spool like all else."""

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Literal

from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from orthanc_al.imaging.reading import read_header
from orthanc_al.ledger import (
    Job,
    Ledger,
    Outcome,
    predictions,
    reports,
    studies,
)
from orthanc_al.ledger.reports import Kind, OwnReport
from orthanc_al.observe import logger
from orthanc_al.report.described import DescribedFinding, described
from orthanc_al.report.evidence import evidence
from orthanc_al.report.key_object_selection import key_object_selection
from orthanc_al.report.objects import Outbox, OwnObject
from orthanc_al.report.result import Identity, Result, Sources
from orthanc_al.report.structured_report import structured_report
from orthanc_al.report.view import ModelView, StudyView, finding_of, identity_of, look, scored_ids
from orthanc_al.spool import Spool, own_instance_id

_log = logger("report")


class ReportStage:
    """Writes the reports of a study and hands them to the forwarder.

    Parameters
    ----------
    ledger, spool
        Where results are, and where objects go.
    ae_title
        Our own: it names this gateway in the reports.
    peers
        Names of the peers that get SR and KOS (role ``results``).
    sr
        Which studies get an SR: all, or those that a review is asked for.
    timezone
        Of the site: the reports' dates and times are in it.
    software_version
        Of orthanc_al.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        *,
        ae_title: str,
        peers: Sequence[str],
        sr: Literal["all", "review"],
        timezone: tzinfo,
        software_version: str,
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._outbox = Outbox(spool, ae_title, peers)
        self._sr = sr
        self._timezone = timezone
        self._version = software_version
        self._described: dict[str, Mapping[str, DescribedFinding]] = {}

    def run(self, job: Job) -> Outcome:
        """Report on the study that is the job's subject; outcome reported, silent or superseded."""
        with self._ledger.read() as connection:
            study = studies.get(connection, job.subject)
            if study is None or not reports.may_leave(connection, job.subject):
                return Outcome("silent")
            found = predictions.latest(connection, job.subject)
            if found and found[0].prediction.revision != study.revision:
                return Outcome("superseded")  # more images came: their own report is on its way
            view = look(connection, job.subject, found)
        due = self._due(view) if self._outbox.peers else []
        if not due:
            return Outcome("silent")
        made = [
            self._object(view, *one)
            for one in due
            if identity_of(view, *one).sop_instance_uid not in view.made
        ]
        return Outcome("reported", lambda connection: self._outbox.send(connection, made))

    def _due(self, view: StudyView) -> list[tuple[ModelView, Kind]]:
        """Return which objects belong to the study as it is, made before or not."""
        due: list[tuple[ModelView, Kind]] = []
        for one in view.models:
            if not one.scores:
                _log.warning("report_not_made", study=view.study_instance_uid, reason="images left the spool")
                continue
            if self._sr == "all" or view.asked:
                due.append((one, "sr"))
            if view.asked:
                due.append((one, "kos"))
        return due

    def _object(self, view: StudyView, one: ModelView, kind: Kind) -> OwnObject:
        identity = identity_of(view, one, kind)
        sources = Sources([evidence(read_header(self._spool.path(key))) for key in scored_ids(one.scores)])
        result = self._result(view, one)
        predecessor = one.predecessor if kind == "sr" else None
        document = (
            structured_report(result, sources, identity, _reference(identity, predecessor, view))
            if kind == "sr"
            else key_object_selection(result, sources, identity)
        )
        row = OwnReport(
            sop_instance_uid=identity.sop_instance_uid,
            kind=kind,
            study_instance_uid=view.study_instance_uid,
            revision=view.revision,
            model_digest=one.model.ref.digest,
            predecessor=None if predecessor is None else predecessor.sop_instance_uid,
            instance_id=own_instance_id(identity.sop_instance_uid),
            created_at=result.made_at.timestamp(),
        )
        return OwnObject(row, self._outbox.store(document, row.instance_id))

    def _result(self, view: StudyView, one: ModelView) -> Result:
        digest = one.model.ref.digest
        if digest not in self._described:
            self._described[digest] = described(one.model.folder)
        scored_at = max(said.scored_at for said in one.predictions)
        return Result(
            model=one.model.ref,
            findings=tuple(finding_of(said, one, view, self._described[digest]) for said in one.predictions),
            asked=view.asked,
            device_uid=self._outbox.device_uid,
            software_version=self._version,
            made_at=datetime.fromtimestamp(int(scored_at), self._timezone),
        )


def _reference(identity: Identity, predecessor: OwnReport | None, view: StudyView) -> Dataset | None:
    """Return what a predecessor is referred to by; it is in the same series as its successor."""
    if predecessor is None:
        return None
    reference = Dataset()
    reference.SOPClassUID = Comprehensive3DSRStorage
    reference.SOPInstanceUID = predecessor.sop_instance_uid
    reference.StudyInstanceUID = view.study_instance_uid
    reference.SeriesInstanceUID = identity.series_instance_uid
    return reference
