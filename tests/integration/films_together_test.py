"""Films that wait behind one another are scored and written several at a time, each as if it were alone."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from orthanc_al.domain.criteria import Criteria
from orthanc_al.errors import ModelError
from orthanc_al.inference import load_package
from orthanc_al.ledger import Ledger, Worker, WorkQueue, batches, predictions, queue
from orthanc_al.ledger.schema import image_scores, jobs, studies
from orthanc_al.pipeline import Step
from orthanc_al.score import champions, score_images
from orthanc_al.score.match import ModelUse
from tests.support.pipeline import Pipeline
from tests.support.synthetic import film
from tests.support.tiny_package import tiny_package

pytestmark = pytest.mark.both_databases

FILMS = 24
SCORING = (Step.SCORE_IMAGE, Step.SCORE)


@pytest.fixture
def pipeline(ledger: Ledger, tmp_path: Path) -> Pipeline:
    """Films, a study each, complete and due; the one in the middle can't be decoded."""
    made = Pipeline(ledger, tmp_path, ModelUse("tiny", Criteria(("DX",))))
    made.install(tiny_package(tmp_path / "package"))
    for number in range(FILMS):
        image = film(np.random.default_rng(number), 64, 64)
        image.NumberOfStudyRelatedInstances = 1
        if number == FILMS // 2:
            image.PixelData = image.PixelData[:10]
        image.save_as(tmp_path / "film.dcm", enforce_file_format=True)
        made.receive(tmp_path / "film.dcm")
    headers = {step: stage for step, stage in made.stages.items() if step not in SCORING}
    _work(ledger, headers)
    return made


def _work(ledger: Ledger, stages: dict) -> list[int]:
    """Do all that is due; return how many jobs were done at a time."""
    worker = Worker(ledger, WorkQueue(ledger, "w"), stages)
    sizes = []
    do = worker._do

    def counted(batch, then) -> None:
        sizes.append(len(batch))
        do(batch, then)

    worker._do = counted
    while worker.run_once(and_on=True):
        pass
    return sizes


def _scoring(pipeline: Pipeline) -> dict:
    return {step: pipeline.stages[step] for step in SCORING}


def _found(ledger: Ledger) -> list[tuple[str, float | None]]:
    """Return state and score of each study, in the order of arrival."""
    with ledger.read() as connection:
        rows = connection.execute(
            select(studies.c.study_instance_uid, studies.c.state).order_by("arrived_at")
        )
        return [
            (row.state, next((one.prediction.logit for one in predictions.latest(connection, row[0])), None))
            for row in rows
        ]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the images that are decoded."""
    seen: list[str] = []
    score_together = champions.score_together

    def counted(images: Iterator[tuple[str, Callable[[], object]]], model: object) -> object:
        wanted = list(images)
        seen.extend(instance_id for instance_id, _ in wanted)
        return score_together(wanted, model)

    monkeypatch.setattr(champions, "score_together", counted)
    return seen


def test_each_has_the_score_that_it_has_alone_and_one_that_is_broken_its_reason(
    ledger: Ledger, pipeline: Pipeline, decoded: list[str], tmp_path: Path
) -> None:
    package = load_package(tmp_path / "package")
    sizes = _work(ledger, _scoring(pipeline))
    assert max(sizes) > 3
    assert len(decoded) == len(set(decoded)) == FILMS
    found = _found(ledger)
    assert [state for state, _ in found].count("scored") == FILMS - 1
    assert found[FILMS // 2] == ("ineligible", None)
    with ledger.read() as connection:
        assert not connection.execute(select(jobs).where(jobs.c.step.in_(SCORING))).first()
        rows = connection.execute(select(image_scores.c.instance_id, image_scores.c.logits)).all()
    model = pipeline.running.get(tmp_path / "package", package.ref)
    for row in rows:
        (alone,) = score_images(pipeline.spool.path(row.instance_id), row.instance_id, model)
        assert np.allclose(row.logits, alone.score.logits, atol=1e-6)


def test_where_films_take_long_what_is_left_is_put_back_and_none_is_decoded_twice(
    ledger: Ledger, pipeline: Pipeline, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "films_in_time", lambda *_: 4)  # as it was taken for
    monkeypatch.setattr(batches, "LONG", -1.0)
    sizes = _work(ledger, _scoring(pipeline))
    assert max(sizes) > 1
    assert len(decoded) == len(set(decoded)) == FILMS
    assert [state for state, _ in _found(ledger)].count("scored") == FILMS - 1


def test_one_whose_score_is_no_number_keeps_no_other_from_its_score(
    ledger: Ledger, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is raised for one ends its batch: those before it are written, those after it are done alone."""
    score_together = champions.score_together
    with ledger.read() as connection:
        query = select(jobs.c.subject).where(jobs.c.step == Step.SCORE_IMAGE.value).order_by("run_at", "id")
        poisonous = list(connection.execute(query).scalars())[5]

    def raising(images: Iterator[tuple[str, Callable[[], object]]], model: object) -> object:
        wanted = list(images)
        if any(instance_id == poisonous for instance_id, _ in wanted):
            raise ModelError("the model gives no finite number")
        return score_together(wanted, model)

    monkeypatch.setattr(champions, "score_together", raising)
    _work(ledger, _scoring(pipeline))
    with ledger.read() as connection:
        (held,) = connection.execute(
            select(jobs.c.subject, jobs.c.attempts).where(jobs.c.step == Step.SCORE_IMAGE.value)
        ).all()
        scored = set(connection.execute(select(image_scores.c.instance_id)).scalars())
    assert held == (poisonous, 1)
    assert len(scored) == FILMS - 2
