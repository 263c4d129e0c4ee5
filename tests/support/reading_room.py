"""A gateway from the score on: studies that arrive, have a result, are reported, and are read.

Arrival, report and review are the real stages; what the network would say is given by the test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
from pydicom import Dataset, dcmread
from sqlalchemy import Connection, select

from orthanc_al.assemble.arrive import ArriveStage
from orthanc_al.domain import ImageScore, Origin, Prediction, ReadSource, ReadValue, Region, Tier
from orthanc_al.domain.precedence import ReadState
from orthanc_al.inference.package import ModelPackage
from orthanc_al.inference.running import Models
from orthanc_al.ledger import Job, Ledger, Outcome, instances, models, predictions, selections, studies
from orthanc_al.ledger.predictions import ScoredImage, StoredPrediction
from orthanc_al.ledger.schema import deliveries, reads
from orthanc_al.ledger.selections import Selection
from orthanc_al.methods.urgency import Targets
from orthanc_al.pipeline import Step
from orthanc_al.report.activation import Activations
from orthanc_al.report.stage import ReportStage, Which
from orthanc_al.review.stage import ReviewStage
from orthanc_al.spool import Spool
from tests.support.tiny_package import CHANNELS, tiny_package
from tests.support.verified_sr import NOON

SCORED_AT = NOON - 3600.0
ORIGIN = Origin("MODALITY", "ORTHANC_AL", "ORTHANC_AL", "modality", None, "dicom")
REGION = Region(12.0, 20.5, 60.0, 80.0)
How = Literal["unasked", "asked", "blind"]


class ReadingRoom:
    """The ledger, the spool and the stages around a read."""

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        *,
        sr: Literal["all", "review"] = "all",
        trust_unnamed: bool = False,
        peers: Sequence[str] = ("pacs",),
        findings: tuple[str, ...] = ("pneumonia",),
        picture: Which = "off",
    ) -> None:
        self.ledger = ledger
        self.spool = Spool(folder / "spool", 0)
        self.package = tiny_package(folder / "package", findings=findings)
        self.arrive = ArriveStage(ledger, self.spool, Targets(15, 60, 240, 480))
        self.report_stage = ReportStage(
            ledger,
            self.spool,
            ae_title="ORTHANC_AL",
            peers=peers,
            sr=sr,
            timezone=ZoneInfo("Europe/Zurich"),
            software_version="0.1.0",
            picture=picture,
            activations=Activations(Models()),
        )
        self.review_stage = ReviewStage(
            ledger, self.spool, timezone=ZoneInfo("Europe/Zurich"), trust_unnamed=trust_unnamed
        )
        self.install(self.package)

    def install(self, package: ModelPackage) -> None:
        """Make a package known to the ledger."""
        with self.ledger.write() as connection:
            models.install(connection, package.ref, package.folder)

    def take_in(self, dataset: Dataset) -> str:
        """Receive an instance and let it arrive; returns its id."""
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        meta = dcmread(BytesIO(buffer.getvalue()), stop_before_pixels=True).file_meta
        offset = 144 + meta.FileMetaInformationGroupLength
        with self.spool.open_writer(
            dataset.SOPClassUID, dataset.SOPInstanceUID, meta.TransferSyntaxUID, ORIGIN
        ) as writer:
            writer.write(buffer.getvalue()[offset:])
            instance = writer.commit()
        with self.ledger.write() as connection:
            instances.add(connection, instance, ORIGIN, ())
        self.finish(Step.ARRIVE, self.arrive.run(self.job(Step.ARRIVE, instance.id)))
        return instance.id

    def score(
        self,
        uid: str,
        *,
        logit: float = 1.5,
        tier: Tier = Tier.HIGH,
        region: Region | None = REGION,
        package: ModelPackage | None = None,
        ood: float = 0.5,
        at: float = SCORED_AT,
    ) -> None:
        """Give a study's images a score, the first one the highest."""
        ref = (package or self.package).ref
        findings = (package or self.package).findings
        with self.ledger.write() as connection:
            study = studies.get(connection, uid)
            assert study is not None
            known = [one.instance for one in instances.of_study(connection, uid) if one.kind == "image"]
            images = [one.id for one in sorted(known, key=lambda one: one.sop_instance_uid)]
            scores = [
                ImageScore(
                    key,
                    1,
                    np.full(len(findings), logit - number, np.float32),
                    np.zeros(CHANNELS, np.float32),
                    (region,) * len(findings),
                )
                for number, key in enumerate(images)
            ]
            predictions.put_image_scores(connection, [ScoredImage(score, ref.digest) for score in scores])
            said = [
                Prediction(
                    uid,
                    study.revision,
                    ref.digest,
                    finding.name,
                    logit,
                    1 / (1 + np.exp(-logit)),
                    0.4,
                    ood,
                    tier,
                )
                for finding in findings
            ]
            predictions.put(
                connection,
                [
                    StoredPrediction(
                        one, ref, images[0], 1, len(images), scores[0].embedding, at, "a test", 29_000_000
                    )
                    for one in said
                ],
            )
            if studies.complete(connection, study, "a test", at):
                completed = studies.get(connection, uid)
                assert completed is not None
                studies.mark_scored(connection, completed)

    def select(
        self, uid: str, how: How = "unasked", tier: Tier = Tier.HIGH, at: float = SCORED_AT + 1
    ) -> None:
        """Decide about a study as the step select does."""
        with self.ledger.write() as connection:
            kind = {"asked": selections.QUERY, "blind": selections.AUDIT}.get(how)
            if kind is not None:
                selections.add(connection, Selection(uid, kind, "a test", 0.1, "seed", at, "2026-01-02"))
            if how == "blind":
                selections.hide(connection, uid, at)
            else:
                selections.place(connection, uid, tier, "a test", 29_000_000, at)

    def report(self, uid: str) -> Outcome:
        """Run the step report."""
        return self.finish(Step.REPORT, self.report_stage.run(self.job(Step.REPORT, uid)))

    def review(self, instance_id: str) -> Outcome:
        """Run the step review."""
        return self.finish(Step.REVIEW, self.review_stage.run(self.job(Step.REVIEW, instance_id)))

    def read(self, report: Dataset) -> Outcome:
        """Receive a report and review it."""
        return self.review(self.take_in(report))

    def finish(self, step: Step, outcome: Outcome) -> Outcome:
        """Write an outcome as the queue does."""
        del step
        with self.ledger.write() as connection:
            outcome.write(connection)
        return outcome

    @staticmethod
    def job(step: Step, subject: str) -> Job:
        """Return a job as a worker holds it."""
        return Job(1, step, subject, 1, "test")

    def sent(self, peer: str = "pacs") -> list[Dataset]:
        """Return our objects that wait for a peer, in the order in which they were made."""
        with self.ledger.read() as connection:
            return [dcmread(self.spool.path(key)) for key in _waiting(connection, peer)]


def _waiting(connection: Connection, peer: str) -> list[str]:
    query = select(deliveries.c.instance_id).where(deliveries.c.destination == peer).order_by(deliveries.c.id)
    return list(connection.execute(query).scalars())


@dataclass(frozen=True)
class TakenRead:
    """A read as the ledger has it."""

    value: ReadValue
    source: ReadSource
    reader: str
    read_at: float
    reference: str
    state: ReadState
    ai_shown: bool


def reads_of(connection: Connection, study_instance_uid: str) -> list[TakenRead]:
    """Return all reads of a study, in the order in which they came."""
    query = select(reads).where(reads.c.study_instance_uid == study_instance_uid).order_by(reads.c.id)
    return [
        TakenRead(
            ReadValue(row.value),
            ReadSource(row.rank),
            row.reader,
            row.read_at,
            row.reference,
            ReadState(row.state),
            row.ai_shown,
        )
        for row in connection.execute(query)
    ]
