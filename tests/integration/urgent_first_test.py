"""What looks urgent from its first images is scored before what came earlier and does not."""

from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from sqlalchemy import select, update

from orthanc_al.domain import Tier
from orthanc_al.domain.criteria import Criteria
from orthanc_al.ledger import Job, Ledger, Outcome, Stage, Worker, WorkQueue, enqueue, haste
from orthanc_al.ledger.schema import instances, jobs
from orthanc_al.observe import now
from orthanc_al.pipeline import Step
from orthanc_al.score import image_stage
from orthanc_al.score.match import ModelUse
from orthanc_al.select import SelectStage
from orthanc_al.select.stage import Budget
from orthanc_al.triage import stage as triage_stage
from tests.support.pipeline import Pipeline
from tests.support.synthetic import film
from tests.support.tiny_package import tiny_package


def _order(ledger: Ledger) -> list[str]:
    with ledger.read() as connection:
        return list(connection.execute(select(jobs.c.subject).order_by(jobs.c.run_at, jobs.c.id)).scalars())


def test_the_rest_of_a_study_is_moved_forward_once_and_never_beyond_its_head_start(ledger: Ledger) -> None:
    steps = (Step.SCORE_IMAGE, Step.SCORE)
    with ledger.write() as connection:
        for subject, created in (("old", 0.0), ("a", 500.0), ("b", 600.0)):
            enqueue(connection, Step.SCORE, subject, created)
        enqueue(connection, Step.ASSEMBLE, "b", 9000.0)
        for subject, created in (("old", 0.0), ("a", 500.0), ("b", 600.0)):
            connection.execute(update(jobs).where(jobs.c.subject == subject).values(created_at=created))
        for _ in range(3):
            haste.hasten(connection, steps, ["b"], 300.0, 1000.0)
    assert _order(ledger) == ["old", "b", "a", "b"]  # what waits for its quiet time goes on to wait


def test_an_urgent_image_brings_its_study_to_the_front(ledger: Ledger, tmp_path: Path) -> None:
    pipeline = Pipeline(ledger, tmp_path, ModelUse("tiny", Criteria(("DX",))), quiet_seconds=60.0)
    pipeline.install(tiny_package(tmp_path / "package", high=0.0))  # everything looks urgent
    random = np.random.default_rng(0)
    images = [film(random, 64, 64, 16) for _ in range(3)]
    images[2].StudyInstanceUID = images[0].StudyInstanceUID
    for number, image in enumerate(images):
        image.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
        pipeline.receive(tmp_path / f"{number}.dcm")
    while True:  # all headers first, as a backlog has it
        with ledger.read() as connection:
            if not connection.execute(select(jobs).where(jobs.c.step == "arrive")).first():
                break
        assert pipeline.worker.run_once()
    with ledger.write() as connection:
        for position, image in enumerate(images):
            wanted = select(instances.c.id).where(instances.c.sop_instance_uid == image.SOPInstanceUID)
            connection.execute(
                update(jobs)
                .where(jobs.c.step == "score_image", jobs.c.subject.in_(wanted))
                .values(run_at=float(position + 1), created_at=1e9)
            )
        connection.execute(update(jobs).where(jobs.c.step == "score_image").values(created_at=500.0))
    assert pipeline.worker.run_once()  # the first image of the first study
    with ledger.read() as connection:
        (first, *_) = connection.execute(
            select(instances.c.sop_instance_uid)
            .join(jobs, jobs.c.subject == instances.c.id)
            .where(jobs.c.step == "score_image")
            .order_by(jobs.c.run_at)
        ).scalars()
    assert first == images[2].SOPInstanceUID


class _Noted:
    """A stage that tells what it does."""

    def __init__(self, stage: Stage | Outcome, said: list[tuple[Step, str]]) -> None:
        self._stage, self._said = stage, said

    def run(self, job: Job) -> Outcome:
        self._said.append((job.step, job.subject))
        return self._stage if isinstance(self._stage, Outcome) else self._stage.run(job)


@pytest.mark.parametrize("why", ["stat", "looks urgent"])
def test_an_urgent_study_is_shown_and_reported_before_the_images_of_what_came_before_it(
    ledger: Ledger, tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(ledger, tmp_path, ModelUse("tiny", Criteria(("DX",))))
    pipeline.install(tiny_package(tmp_path / "package", high=0.0 if why == "stat" else 1.0))
    ids, films = [], [film(np.random.default_rng(number), 64, 64, 16) for number in range(5)]
    for number, image in enumerate(films):
        image.NumberOfStudyRelatedInstances = 1
        if why == "stat" and number == 3:
            image.RequestedProcedurePriority = "STAT"
        image.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
        ids.append(pipeline.receive(tmp_path / f"{number}.dcm"))
    if why == "stat":
        urgent = 3
    else:  # the first one: it would be shown after the images of all others
        urgent = 0
        monkeypatch.setattr(image_stage, "looks_urgent", lambda *_: not said[1:])
        monkeypatch.setattr(triage_stage, "tier_of", lambda *_: (Tier.HIGH, "a test"))
    said: list[tuple[Step, str]] = []
    select_stage = SelectStage(ledger, Budget(0, 0.0, 10.0, ZoneInfo("UTC")))
    stages = {**pipeline.stages, Step.SELECT: select_stage, Step.REPORT: Outcome("silent")}
    headers = Worker(ledger, WorkQueue(ledger, "headers"), {Step.ARRIVE: pipeline.stages[Step.ARRIVE]})
    while headers.run_once():
        pass
    worker = Worker(
        ledger, WorkQueue(ledger, "rest"), {step: _Noted(one, said) for step, one in stages.items()}
    )
    while worker.run_once():
        pass
    study = str(films[urgent].StudyInstanceUID)
    steps = [what for what in said if what[1] in (study, ids[urgent])]
    expected = [Step.SCORE_IMAGE, Step.ASSEMBLE, Step.SCORE, Step.TRIAGE, Step.SELECT, Step.REPORT]
    assert sorted(step for step, _ in steps) == sorted(expected)
    others = [
        place for place, what in enumerate(said) if what[0] == Step.SCORE_IMAGE and what[1] != ids[urgent]
    ]
    shown = max(said.index(what) for what in steps)
    assert len(others) == 4
    assert shown < min(others)


def test_an_urgent_image_that_is_written_brings_its_study_forward_and_the_score_that_waits(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the image before it in the batch can't be written."""
    pipeline = Pipeline(ledger, tmp_path, ModelUse("tiny", Criteria(("DX",))), quiet_seconds=60.0)
    pipeline.install(tiny_package(tmp_path / "package"))
    said = iter((False, True))
    monkeypatch.setattr(image_stage, "looks_urgent", lambda *_: next(said))
    images = [film(np.random.default_rng(number), 64, 64, 16) for number in range(2)]
    images[1].StudyInstanceUID = images[0].StudyInstanceUID
    for number, image in enumerate(images):
        image.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
        pipeline.receive(tmp_path / f"{number}.dcm")
    study = str(images[0].StudyInstanceUID)
    queue = WorkQueue(ledger, "first")
    headers = queue.claim_many([Step.ARRIVE])
    queue.finish_many(list(zip(headers, pipeline.stages[Step.ARRIVE].run_all(headers), strict=True)))
    batch = [job for _ in images for job in queue.claim_many([Step.SCORE_IMAGE])]
    with ledger.write() as connection:
        enqueue(connection, Step.SCORE, study, now() + 60.0)  # it waits for its images
        connection.execute(update(jobs).where(jobs.c.step == "score").values(created_at=5000.0))
    outcomes = list(pipeline.stages[Step.SCORE_IMAGE].run_all(batch))
    queue.finish_many([(batch[1], outcomes[1])])
    with ledger.read() as connection:
        (run_at,) = connection.execute(select(jobs.c.run_at).where(jobs.c.step == "score")).scalars()
    assert run_at == 5000.0 - 900.0
