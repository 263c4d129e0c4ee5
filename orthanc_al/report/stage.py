"""The step ``report``: what may be told of a study leaves as SR and KOS, through the spool like all else."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from time import monotonic
from typing import Literal

from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from orthanc_al.errors import InstanceError, ModelError
from orthanc_al.imaging.reading import read_header
from orthanc_al.ledger import (
    Job,
    Ledger,
    Outcome,
    batches,
    predictions,
    reports,
    studies,
)
from orthanc_al.ledger.reports import Kind, OwnReport
from orthanc_al.observe import logger
from orthanc_al.report.activation import Activations
from orthanc_al.report.described import DescribedFinding, described
from orthanc_al.report.evidence import evidence
from orthanc_al.report.key_object_selection import key_object_selection
from orthanc_al.report.objects import Outbox, OwnObject, Sending
from orthanc_al.report.picture import caption_of, painted, secondary_capture
from orthanc_al.report.result import Identity, Result, Sources
from orthanc_al.report.structured_report import structured_report
from orthanc_al.report.view import ModelView, StudyView, finding_of, identity_of, look, scored_ids
from orthanc_al.spool import Spool, own_instance_id

_log = logger("report")

Which = Literal["off", "review", "all"]


@dataclass(frozen=True, slots=True)
class _Due:
    """An object that belongs to a study; ``about`` is the finding of a picture."""

    one: ModelView
    kind: Kind
    about: str = ""


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
    picture
        Which studies get a picture of the class activation.
    activations
        Runs the models for the pictures; None where there are none.
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
        picture: Which = "off",
        activations: Activations | None = None,
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._outbox = Outbox(spool, ae_title, peers)
        self._sr = sr
        self._timezone = timezone
        self._version = software_version
        self._picture = picture
        self._activations = activations
        self._described: dict[str, Mapping[str, DescribedFinding]] = {}

    def run_all(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Report on the studies that are the jobs' subjects.

        Where they take long, as pictures do, those that are left are not begun.
        """
        for job in batches.in_time(jobs, monotonic()):
            yield self.run(job)

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
        due = list(self._due(view)) if self._outbox.peers else []
        if not due:
            return Outcome("silent")
        made = [made for one in due if (made := self._object(view, one)) is not None]
        return Outcome("reported", Sending(self._outbox, made))

    def _due(self, view: StudyView) -> Iterator[_Due]:
        """Yield which objects belong to the study as it is, made before or not."""
        for one in view.models:
            if not one.scores:
                _log.warning("report_not_made", study=view.study_instance_uid, reason="images left the spool")
                continue
            if self._sr == "all" or view.asked:
                yield _Due(one, "sr")
            if view.asked:
                yield _Due(one, "kos")
            if self._picture == "all" or (self._picture == "review" and view.asked):
                yield from (_Due(one, "picture", said.prediction.finding) for said in one.predictions)

    def _object(self, view: StudyView, due: _Due) -> OwnObject | None:
        """Make an object; None where it is there already, or can't be had."""
        one, kind = due.one, due.kind
        identity = identity_of(view, one, kind, due.about)
        if identity.sop_instance_uid in view.made:
            return None
        sources = Sources([evidence(read_header(self._spool.path(key))) for key in scored_ids(one.scores)])
        result = self._result(view, one)
        predecessor = one.predecessor if kind == "sr" else None
        if kind == "sr":
            document = structured_report(result, sources, identity, _reference(identity, predecessor, view))
        elif kind == "kos":
            document = key_object_selection(result, sources, identity)
        else:
            pictured = self._pictured(view, due, result, sources, identity)
            if pictured is None:
                return None
            document = pictured
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

    def _pictured(
        self, view: StudyView, due: _Due, result: Result, sources: Sources, identity: Identity
    ) -> Dataset | None:
        """Return the picture of the image that decided; a picture that can't be had holds no report up."""
        if self._activations is None:
            return None
        said = next(said for said in due.one.predictions if said.prediction.finding == due.about)
        told = next(said for said in result.findings if said.images[0].finding.name == due.about)
        try:
            looked = self._activations.of(
                self._spool.path(said.instance_id), said.frame, due.one.model, due.about
            )
        except (InstanceError, ModelError) as error:
            _log.warning("picture_not_made", study=view.study_instance_uid, reason=str(error))
            return None
        image = told.images[0]
        return secondary_capture(result, image, sources, identity, painted(looked, caption_of(image)))

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
