"""The steps from a spooled instance to a placed study, run one job after the other as a worker does."""

from pathlib import Path

from pydicom.filereader import read_file_meta_info

from orthanc_al.assemble.arrive import ArriveStage
from orthanc_al.assemble.stage import AssembleStage
from orthanc_al.domain import Origin
from orthanc_al.inference.running import Models
from orthanc_al.ledger import Ledger, Worker, WorkQueue, instances, models
from orthanc_al.ledger.response import ResponseRule
from orthanc_al.methods.urgency import Targets
from orthanc_al.observe import Clock, now
from orthanc_al.pipeline import Step
from orthanc_al.score.champions import Champions
from orthanc_al.score.image_stage import ScoreImageStage
from orthanc_al.score.match import ModelUse
from orthanc_al.score.stage import ScoreStage
from orthanc_al.spool import Spool
from orthanc_al.triage.stage import TriageStage

TARGETS = Targets(high=15, review=60, none=240, low=480)
STEPS = (Step.ARRIVE, Step.SCORE_IMAGE, Step.ASSEMBLE, Step.SCORE, Step.TRIAGE)


class Pipeline:
    """Spool, stages and a worker over a ledger; nothing runs until `work` is called."""

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        *uses: ModelUse,
        quiet_seconds: float = 1e-3,
        clock: Clock = now,
        running: Models | None = None,
    ) -> None:
        self.ledger = ledger
        self.spool = Spool(folder / "spool", 0)
        self.running = running or Models()
        scorer = Champions(ledger, self.spool, self.running, uses)
        self.stages = {
            Step.ARRIVE: ArriveStage(ledger, self.spool, TARGETS),
            Step.SCORE_IMAGE: ScoreImageStage(ledger, scorer),
            Step.ASSEMBLE: AssembleStage(ledger, {"default": quiet_seconds}, clock),
            Step.SCORE: ScoreStage(ledger, scorer, TARGETS, clock),
            Step.TRIAGE: TriageStage(ledger, self.running, TARGETS, ResponseRule(7 * 86400.0, 0.2), clock),
        }
        queue = WorkQueue(ledger, "test", clock=clock)
        self.worker = Worker(ledger, queue, self.stages)

    def install(self, package: object) -> None:
        """Make a package the champion of its name."""
        with self.ledger.write() as connection:
            models.install(connection, package.ref, package.folder)

    def receive(self, path: Path, *, association: str | None = None, kind: str = "dicom") -> str:
        """Take a Part 10 file in as the listener would; returns the instance id."""
        meta = read_file_meta_info(path)
        data_set = path.read_bytes()[144 + int(meta.FileMetaInformationGroupLength) :]
        return self.receive_bytes(
            data_set,
            str(meta.MediaStorageSOPClassUID),
            str(meta.MediaStorageSOPInstanceUID),
            str(meta.TransferSyntaxUID),
            association=association,
            kind=kind,
        )

    def receive_bytes(
        self,
        data_set: bytes,
        sop_class: str,
        sop_instance: str,
        syntax: str,
        *,
        association: str | None = None,
        kind: str = "dicom",
    ) -> str:
        """Take the bytes of a data set in."""
        origin = Origin("SENDER", "ORTHANC_AL", "ORTHANC_AL", "sender", association, kind)
        with self.spool.open_writer(sop_class, sop_instance, syntax, origin) as writer:
            writer.write(data_set)
            instance = writer.commit()
        with self.ledger.write() as connection:
            instances.add(connection, instance, origin, [])
        return instance.id

    def work(self, limit: int = 1000) -> int:
        """Do jobs until none is due; returns how many."""
        for done in range(limit):
            if not self.worker.run_once():
                return done
        raise AssertionError(f"still work after {limit} jobs")
