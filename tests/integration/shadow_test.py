"""A candidate in shadow scores what the champion scores; nothing of it shows, and it counts at the gate."""

import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, update

from orthanc_al.domain.criteria import Criteria
from orthanc_al.errors import ModelError
from orthanc_al.inference.running import Models
from orthanc_al.ledger import Ledger, models, predictions, shadow
from orthanc_al.ledger.schema import image_scores, shadow_scores, studies
from orthanc_al.ledger.schema import predictions as prediction_table
from orthanc_al.ledger.shadow import ShadowRule, ShadowScore
from orthanc_al.pipeline import Step
from orthanc_al.score import ShadowStage
from orthanc_al.score.match import ModelUse
from tests.support.pipeline import Pipeline
from tests.support.radiographs import wrap
from tests.support.tiny_package import tiny_package

CHEST = ModelUse("tiny", Criteria(("CR", "DX"), ("CHEST",)))


class Night:
    """A site with a champion and a candidate, whose clock goes on when it is told."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger, self.folder, self.later = ledger, folder, 0.0
        self.pipeline = Pipeline(ledger, folder, CHEST, clock=lambda: time.time() + self.later)
        self.pipeline.stages[Step.SHADOW] = ShadowStage(
            ledger, self.pipeline.stages[Step.SCORE]._scorer, Models()
        )
        self.champion = tiny_package(folder / "champion", seed=0)
        self.pipeline.install(self.champion)

    def add(self, seed: int, version: str = "2", champion: str | None = None) -> models.RegisteredModel:
        made = tiny_package(self.folder / version, version=version, seed=seed)
        with self.ledger.write() as connection:
            models.add(
                connection,
                made.ref,
                made.folder,
                parent=champion or self.champion.ref.digest,
                origin="retrained",
                state="candidate",
            )
            return models.get(connection, made.ref.digest)

    def scan(self, count: int) -> None:
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 255, (64, 48), np.uint8)
            path = self.folder / f"{number}.dcm"
            wrap(pixels, number).save_as(path, enforce_file_format=True)
            self.pipeline.receive(path)
        for _ in range(3):
            self.pipeline.work()
            self.later += 10.0
            time.sleep(0.005)
        self.pipeline.work()
        with self.ledger.write() as connection:  # as the step `select` does: none of them is an audit
            connection.execute(update(studies).values(placed_at=time.time()))


@pytest.fixture
def night(ledger: Ledger, tmp_path: Path) -> Night:
    return Night(ledger, tmp_path)


def test_a_candidate_scores_the_same_studies_by_its_own_network_and_nothing_of_it_is_kept_elsewhere(
    night: Night,
) -> None:
    candidate = night.add(seed=1)
    night.scan(3)
    with night.ledger.read() as connection:
        seen = shadow.seen_by(connection, candidate.ref.digest)
        rows = connection.execute(select(shadow_scores)).mappings().all()
        for table in (prediction_table, image_scores):
            assert set(connection.execute(select(table.c.model_digest)).scalars()) == {
                night.champion.ref.digest
            }
        for row in rows:
            (said,) = predictions.latest(connection, row["study_instance_uid"])
            assert row["champion_logit"] == said.prediction.logit != row["logit"]
    assert (seen.studies, seen.failures) == (3, 0)
    assert seen.findings["pneumonia"].studies == 3
    assert "3 studies in shadow, pneumonia" in str(seen)


def test_without_a_candidate_no_work_is_made(night: Night) -> None:
    night.scan(1)
    with night.ledger.read() as connection:
        assert connection.execute(select(shadow_scores)).all() == []
        assert shadow.in_shadow(connection, "tiny") is None
        assert shadow.in_shadow(connection, "unknown") is None


def test_a_candidate_of_another_champion_is_not_in_shadow(night: Night) -> None:
    night.add(seed=1, champion="0" * 64)
    night.scan(1)
    with night.ledger.read() as connection:
        assert connection.execute(select(shadow_scores)).all() == []


def test_a_candidate_that_can_t_be_loaded_fails_in_shadow_and_costs_the_champion_nothing(
    night: Night,
) -> None:
    candidate = night.add(seed=1)
    (candidate.folder / "model.onnx").write_bytes(b"no model")
    night.scan(2)
    with night.ledger.read() as connection:
        seen = shadow.seen_by(connection, candidate.ref.digest)
        assert len(connection.execute(select(prediction_table.c.id)).all()) == 2
        with pytest.raises(ModelError, match=r"could not score 2 studies.*refused"):
            ShadowRule(1, 0.0, 0.0).check(connection, candidate, time.time())
    assert (seen.studies, seen.failures) == (0, 2)


RULE = ShadowRule(min_studies=2, min_hours=1.0, min_agreement=0.75)


@pytest.mark.parametrize(
    ("studies", "hours", "apart", "told"),
    [
        (1, 2.0, 0, "1 of 2 studies"),
        (2, 0.5, 0, "0.5 of 1 hours"),
        (4, 2.0, 2, "agrees with the champion on less than 75%"),
        (4, 2.0, 1, ""),
        (2, 1.0, 0, ""),
    ],
)
def test_a_candidate_goes_live_after_its_time_in_shadow_and_no_sooner(
    night: Night, studies: int, hours: float, apart: int, told: str
) -> None:
    candidate = night.add(seed=1)
    with night.ledger.write() as connection:
        shadow.put(
            connection,
            [
                ShadowScore(
                    f"1.{n}",
                    candidate.ref.digest,
                    night.champion.ref.digest,
                    "pneumonia",
                    0.0,
                    logit=float(n),
                    champion_logit=float(n),
                    flagged=n < apart,
                )
                for n in range(studies)
            ],
        )
        missing = RULE.missing(connection, candidate, candidate.created_at + hours * 3600.0)
    assert told in missing
    assert bool(told) is bool(missing)


def test_the_plan_may_do_without_and_a_package_that_was_live_need_not_wait(night: Night) -> None:
    candidate = night.add(seed=1)
    with night.ledger.write() as connection:
        ShadowRule(0, 0.0, 1.0).check(connection, candidate, 0.0)
        RULE.check(connection, models.get(connection, night.champion.ref.digest), 0.0)
