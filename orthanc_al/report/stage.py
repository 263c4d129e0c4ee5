"""The step ``report``: what may be told of a study leaves as SR and KOS, through the spool like all else."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Final, Literal

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian
from sqlalchemy import Connection

from orthanc_al.domain import ImageScore, Instance, Origin, derived_uid
from orthanc_al.imaging.reading import read_header
from orthanc_al.ledger import (
    Job,
    Ledger,
    Outcome,
    instances,
    models,
    predictions,
    reports,
    selections,
    studies,
)
from orthanc_al.ledger.instances import KnownInstance
from orthanc_al.ledger.models import RegisteredModel
from orthanc_al.ledger.predictions import StoredPrediction
from orthanc_al.ledger.reports import Kind, OwnReport
from orthanc_al.observe import logger
from orthanc_al.report.described import DescribedFinding, described
from orthanc_al.report.evidence import evidence
from orthanc_al.report.key_object_selection import key_object_selection
from orthanc_al.report.result import Identity, ImageFinding, Result, Sources, StudyFinding
from orthanc_al.report.structured_report import structured_report
from orthanc_al.spool import Spool, own_instance_id

_log = logger("report")
_SERIES_NUMBER: Final[Mapping[Kind, int]] = {"sr": 9801, "kos": 9802}


@dataclass(frozen=True, slots=True)
class _Model:
    """What one model says of a study, as the ledger has it."""

    model: RegisteredModel
    predictions: tuple[StoredPrediction, ...]
    scores: tuple[ImageScore, ...]
    predecessor: OwnReport | None


@dataclass(frozen=True, slots=True)
class _View:
    """What the ledger says that bears on a study's report."""

    study_instance_uid: str
    revision: int
    asked: bool
    images: Mapping[str, KnownInstance]
    models: tuple[_Model, ...]
    made: Collection[str]


@dataclass(frozen=True, slots=True)
class _Object:
    """One of our objects: its row, and its file in the spool."""

    row: OwnReport
    instance: Instance


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
        self._peers = tuple(peers)
        self._sr = sr
        self._timezone = timezone
        self._version = software_version
        self._device_uid = derived_uid("orthanc_al", ae_title)
        self._origin = Origin(ae_title, ae_title, ae_title, "orthanc_al", None, "own")
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
            view = self._look(connection, job.subject, found)
        due = self._due(view) if self._peers else []
        if not due:
            return Outcome("silent")
        made = [
            self._object(view, *one) for one in due if _identity(view, *one).sop_instance_uid not in view.made
        ]
        return Outcome("reported", lambda connection: self._write(connection, made))

    def _look(self, connection: Connection, uid: str, found: Sequence[StoredPrediction]) -> _View:
        images = {
            known.instance.id: known
            for known in instances.of_study(connection, uid)
            if known.kind == "image" and known.spooled
        }
        query = selections.of_study(connection, uid).get(selections.QUERY)
        by_digest = {one.model.digest: one.model for one in found}
        return _View(
            study_instance_uid=uid,
            revision=found[0].prediction.revision if found else 0,
            asked=query is not None and query.signed_at is None,
            images=images,
            models=tuple(_model(connection, uid, digest, found, images) for digest in by_digest),
            made=reports.uids_of(connection, uid),
        )

    def _due(self, view: _View) -> list[tuple[_Model, Kind]]:
        """Return which objects belong to the study as it is, made before or not."""
        due: list[tuple[_Model, Kind]] = []
        for one in view.models:
            if not one.scores:
                _log.warning("report_not_made", study=view.study_instance_uid, reason="images left the spool")
                continue
            if self._sr == "all" or view.asked:
                due.append((one, "sr"))
            if view.asked:
                due.append((one, "kos"))
        return due

    def _object(self, view: _View, one: _Model, kind: Kind) -> _Object:
        identity = _identity(view, one, kind)
        sources = Sources([evidence(read_header(self._spool.path(key))) for key in _ids(one.scores)])
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
        return _Object(row, self._store(document, row.instance_id))

    def _result(self, view: _View, one: _Model) -> Result:
        digest = one.model.ref.digest
        if digest not in self._described:
            self._described[digest] = described(one.model.folder)
        scored_at = max(said.scored_at for said in one.predictions)
        return Result(
            model=one.model.ref,
            findings=tuple(_said(said, one, view, self._described[digest]) for said in one.predictions),
            asked=view.asked,
            device_uid=self._device_uid,
            software_version=self._version,
            made_at=datetime.fromtimestamp(int(scored_at), self._timezone),
        )

    def _store(self, document: Dataset, instance_id: str) -> Instance:
        """Write an object into the spool; a second run overwrites it with the same bytes."""
        data_set = encoded(document)
        with self._spool.open_writer(
            document.SOPClassUID,
            document.SOPInstanceUID,
            ExplicitVRLittleEndian,
            self._origin,
            instance_id=instance_id,
        ) as writer:
            writer.write(data_set)
            instance = writer.commit()
        return replace(
            instance,
            study_instance_uid=str(document.StudyInstanceUID),
            series_instance_uid=str(document.SeriesInstanceUID),
            modality=str(document.Modality),
            sha256=hashlib.sha256(data_set).hexdigest(),
        )

    def _write(self, connection: Connection, made: Sequence[_Object]) -> None:
        for one in made:
            instances.add(connection, one.instance, self._origin, self._peers)
            reports.add(connection, one.row)


def encoded(document: Dataset) -> bytes:
    """Return a data set in Explicit VR Little Endian, without File Meta Information."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, document)
    return bytes(buffer.getvalue())


def _model(
    connection: Connection,
    uid: str,
    digest: str,
    found: Sequence[StoredPrediction],
    images: Mapping[str, KnownInstance],
) -> _Model:
    model = models.get(connection, digest)
    return _Model(
        model=model,
        predictions=tuple(said for said in found if said.model.digest == digest),
        scores=tuple(predictions.image_scores_of(connection, images.keys(), digest)),
        predecessor=reports.last_sr(connection, uid, model.ref.name),
    )


def _identity(view: _View, one: _Model, kind: Kind) -> Identity:
    """Return the UIDs of an object: they follow from study, set of instances, model package and kind."""
    uid = view.study_instance_uid
    content = sorted(
        f"{view.images[key].instance.sop_instance_uid} {view.images[key].instance.sha256}"
        for key in _ids(one.scores)
    )
    return Identity(
        sop_instance_uid=derived_uid(
            uid, hashlib.sha256("\n".join(content).encode()).hexdigest(), one.model.ref.digest, kind
        ),
        series_instance_uid=derived_uid(uid, one.model.ref.name, kind, "series"),
        series_number=_SERIES_NUMBER[kind],
    )


def _reference(identity: Identity, predecessor: OwnReport | None, view: _View) -> Dataset | None:
    """Return what a predecessor is referred to by; it is in the same series as its successor."""
    if predecessor is None:
        return None
    reference = Dataset()
    reference.SOPClassUID = Comprehensive3DSRStorage
    reference.SOPInstanceUID = predecessor.sop_instance_uid
    reference.StudyInstanceUID = view.study_instance_uid
    reference.SeriesInstanceUID = identity.series_instance_uid
    return reference


def _said(
    said: StoredPrediction, one: _Model, view: _View, known: Mapping[str, DescribedFinding]
) -> StudyFinding:
    about = known[said.prediction.finding]
    decided = (said.instance_id, said.frame)
    scores = sorted(one.scores, key=lambda score: (score.instance_id, score.frame) != decided)
    return StudyFinding(
        tier=said.prediction.tier,
        std=said.prediction.std,
        images=tuple(
            ImageFinding(
                finding=about.finding,
                sop_instance_uid=view.images[score.instance_id].instance.sop_instance_uid,
                frame=score.frame,
                probability=float(about.calibrator.probability(score.logits[about.index])),
                region=score.regions[about.index],
            )
            for score in scores
        ),
    )


def _ids(scores: Sequence[ImageScore]) -> list[str]:
    """Return the scored instances, each once, in their order."""
    return list(dict.fromkeys(score.instance_id for score in scores))
