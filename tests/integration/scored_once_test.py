"""An image that the steps ``score_image`` and ``score`` want at the same time is decoded once."""

from pathlib import Path

import numpy as np
import pytest

from orthanc_al.domain.criteria import Criteria
from orthanc_al.ledger import Ledger, WorkQueue, predictions
from orthanc_al.pipeline import Step
from orthanc_al.score import champions
from orthanc_al.score.match import ModelUse
from tests.support.pipeline import Pipeline
from tests.support.synthetic import film
from tests.support.tiny_package import tiny_package


def test_a_study_that_is_complete_while_its_film_is_scored_does_not_decode_it_again(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    score_together = champions.score_together

    def counted(images, model):
        wanted = list(images)
        decoded.extend(instance_id for instance_id, _ in wanted)
        return score_together(wanted, model)

    monkeypatch.setattr(champions, "score_together", counted)
    pipeline = Pipeline(ledger, tmp_path, ModelUse("tiny", Criteria(("DX",))))
    pipeline.install(tiny_package(tmp_path / "package"))
    image = film(np.random.default_rng(0), 64, 64)
    image.NumberOfStudyRelatedInstances = 1
    image.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    instance = pipeline.receive(tmp_path / "film.dcm")
    queue = WorkQueue(ledger, "first")
    for step in (Step.ARRIVE, Step.ASSEMBLE):
        (job,) = queue.claim_many([step])
        queue.finish_many([(job, pipeline.stages[step].run(job))])
    (of_the_image,) = queue.claim_many([Step.SCORE_IMAGE])
    outcome = pipeline.stages[Step.SCORE_IMAGE].run(of_the_image)  # not in the ledger yet
    pipeline.work()  # another worker scores the study meanwhile
    assert decoded == [instance]
    queue.finish_many([(of_the_image, outcome)])
    pipeline.work()  # at once, not after its wait
    assert decoded == [instance]
    with ledger.read() as connection:
        assert predictions.latest(connection, str(image.StudyInstanceUID))
