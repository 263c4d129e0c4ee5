"""In a backlog a study is scored and placed when its images are scored, not after all that came later."""

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from orthanc_al.domain.criteria import Criteria
from orthanc_al.ledger import Ledger, Worker, WorkQueue
from orthanc_al.ledger.schema import image_scores, jobs, predictions
from orthanc_al.pipeline import Step
from orthanc_al.score.match import ModelUse
from tests.support.pipeline import Pipeline
from tests.support.synthetic import film
from tests.support.tiny_package import tiny_package

FILMS = 4


@pytest.mark.parametrize("first", [{Step.ARRIVE}, {Step.ARRIVE, Step.ASSEMBLE}], ids=["late", "early"])
def test_a_study_is_scored_and_placed_before_the_images_of_what_came_later(
    ledger: Ledger, tmp_path: Path, first: set[Step]
) -> None:
    """Whether it is known to be complete after its image is scored (late), or before."""
    pipeline = Pipeline(ledger, tmp_path, ModelUse("tiny", Criteria(("DX",))))
    pipeline.install(tiny_package(tmp_path / "package", high=1.0))  # nothing looks urgent
    for number in range(FILMS):
        image = film(np.random.default_rng(number), 64, 64)
        image.NumberOfStudyRelatedInstances = 1
        image.save_as(tmp_path / "film.dcm", enforce_file_format=True)
        pipeline.receive(tmp_path / "film.dcm")
    stages = {step: stage for step, stage in pipeline.stages.items() if step in first}
    headers = Worker(ledger, WorkQueue(ledger, "headers"), stages)
    while headers.run_once():
        pass
    seen, unplaced = [], []
    while pipeline.worker.run_once():
        with ledger.read() as connection:
            made = connection.execute(select(func.count()).select_from(image_scores)).scalar_one()
            scored = connection.execute(select(func.count()).select_from(predictions)).scalar_one()
            waiting = select(func.count()).select_from(jobs).where(jobs.c.step == Step.TRIAGE.value)
            unplaced.append(connection.execute(waiting).scalar_one())
        seen.append(made - scored)
    assert scored == FILMS
    assert max(seen) == 1
    assert max(unplaced) == 1
