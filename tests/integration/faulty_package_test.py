"""One package of several that can't be run stops its own studies alone; mended, it finds them waiting."""

from pathlib import Path

import numpy as np
from sqlalchemy import select, update

from orthanc_al.domain import StudyState
from orthanc_al.domain.criteria import Criteria
from orthanc_al.ledger import Ledger, instances, predictions, studies
from orthanc_al.ledger.schema import jobs
from orthanc_al.score.match import ModelUse
from tests.support.pipeline import Pipeline
from tests.support.synthetic import film
from tests.support.tiny_package import tiny_package

CHESTS = Criteria(("CR", "DX"), ("CHEST",))
HANDS = Criteria(("CR", "DX"), ("HAND",))
BROKEN = ModelUse("hands", HANDS, "model package hands is refused: model.onnx is missing")


def _receive(pipeline: Pipeline, folder: Path, part: str) -> str:
    image = film(np.random.default_rng(len(part)), 300, 250, 16)
    image.BodyPartExamined = part
    path = folder / f"{part}.dcm"
    image.save_as(path, enforce_file_format=True)
    pipeline.receive(path)
    return str(image.StudyInstanceUID)


def _work(pipeline: Pipeline) -> None:
    for _ in range(3):
        pipeline.work()
        with pipeline.ledger.write() as connection:  # quiet times are over
            connection.execute(update(jobs).where(jobs.c.step == "assemble").values(run_at=0.0))


def test_studies_of_a_faulty_package_wait_with_a_reason_and_the_others_are_scored(
    ledger: Ledger, tmp_path: Path
) -> None:
    pipeline = Pipeline(ledger, tmp_path, BROKEN, ModelUse("tiny", CHESTS))
    pipeline.install(tiny_package(tmp_path / "package"))
    chest, hand = (_receive(pipeline, tmp_path, part) for part in ("CHEST", "HAND"))
    _work(pipeline)
    with ledger.read() as connection:
        assert studies.get(connection, chest).state is StudyState.SCORED
        assert studies.get(connection, hand).state is StudyState.COMPLETE
        (waiting,) = connection.execute(select(jobs).where(jobs.c.step == "score")).mappings().all()
        (image,) = instances.of_study(connection, hand)
    assert waiting["subject"] == hand
    assert waiting["state"] == "ready"
    assert waiting["attempts"] == 0  # waiting is no failure: nothing ends in quarantine
    assert image.reason == f"the model hands can't be run: {BROKEN.fault}"

    mended = Pipeline(ledger, tmp_path, ModelUse("hands", HANDS), ModelUse("tiny", CHESTS))
    mended.install(tiny_package(tmp_path / "hands", name="hands"))
    with ledger.write() as connection:
        connection.execute(update(jobs).where(jobs.c.step == "score").values(run_at=0.0))
    mended.work()
    with ledger.read() as connection:
        assert studies.get(connection, hand).state is StudyState.SCORED
        assert instances.of_study(connection, hand)[0].reason is None
        assert [one.model.name for one in predictions.latest(connection, hand)] == ["hands"]
