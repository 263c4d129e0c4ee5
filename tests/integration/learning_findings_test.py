"""Several findings a model: each has its own labels, head, calibrator, borders and verdict."""

from pathlib import Path

import numpy as np
import pytest

from orthanc_al.inference.head_swap import read_head
from orthanc_al.inference.package import ModelPackage, load_package
from orthanc_al.learn import Guarantee, Plan, RetrainStage
from orthanc_al.ledger import Job, Ledger, learning, models, selections
from orthanc_al.ledger.selections import AUDIT, QUERY, Selection
from orthanc_al.methods import audit
from orthanc_al.pipeline import Step
from tests.support.learning_ledger import put_prediction, put_read, put_study
from tests.support.tiny_package import CHANNELS, tiny_package

NIGHT = 1_800_000_000.0
FINDINGS = ("pneumonia", "effusion")
PLAN = Plan.model_validate({"shadow": {"min_studies": 0, "min_hours": 0.0}})


@pytest.fixture
def package(ledger: Ledger, tmp_path: Path) -> ModelPackage:
    made = tiny_package(tmp_path / "factory", name="two", findings=FINDINGS)
    with ledger.write() as connection:
        models.install(connection, made.ref, made.folder)
    return made


def truth(weight: np.ndarray) -> np.ndarray:
    """What a finding looks like here: most of it is what the factory's head knows."""
    across = np.array([weight[1], -weight[0], weight[3], -weight[2]])
    return weight / np.linalg.norm(weight) + 0.5 * across / np.linalg.norm(across)


def read(ledger: Ledger, package: ModelPackage, kind: str, numbers: range, said: tuple[str, ...]) -> None:
    """Studies arrive and are read; the reader speaks of some findings only."""
    weight = read_head(package.contents.model)[0]
    with ledger.write() as connection:
        for number in numbers:
            rng = np.random.default_rng(number)
            uid, embedding = f"1.{number}", rng.normal(size=CHANNELS)
            put_study(connection, uid, arrived_at=NIGHT)
            fold = audit.fold_of("seed", uid) if kind == AUDIT else None
            selections.add(
                connection,
                Selection(uid, kind, "t", 0.1, "s", NIGHT, "2027-01-15", fold=fold, signed_at=NIGHT),
            )
            for k, finding in enumerate(FINDINGS):
                put_prediction(
                    connection,
                    uid,
                    float(embedding @ weight[:, k]),
                    embedding=embedding,
                    model=package.ref,
                    scored_at=NIGHT,
                    finding=finding,
                )
                present = bool(4.0 * (embedding @ truth(weight[:, k])) - 3.0 + rng.logistic() > 0)
                if finding in said:
                    put_read(connection, uid, present, at=NIGHT, finding=finding)


def night(ledger: Ledger, folder: Path) -> str:
    guarantee = Guarantee(0.05, 0.10, 0.10)
    stage = RetrainStage(ledger, folder, guarantee, PLAN, automatic=True, clock=lambda: NIGHT)
    outcome = stage.run(Job(1, Step.RETRAIN, "two", 1, "test"))
    with ledger.write() as connection:
        outcome.write(connection)
    return outcome.name


def test_the_finding_that_was_read_changes_and_the_other_stays_bit_by_bit(
    ledger: Ledger, tmp_path: Path, package: ModelPackage
) -> None:
    read(ledger, package, QUERY, range(150), ("pneumonia",))
    read(ledger, package, AUDIT, range(150, 650), ("pneumonia",))
    assert night(ledger, tmp_path / "models") == "promoted"
    with ledger.read() as connection:
        live = load_package(models.champion(connection, "two").folder)
        content = learning.change_records(connection, "two")[0]["content"]
    old, new = (read_head(one.contents.model) for one in (package, live))
    assert not np.array_equal(old[0][:, 0], new[0][:, 0])
    assert np.array_equal(old[0][:, 1], new[0][:, 1])
    assert old[1][1] == new[1][1]
    assert live.manifest.findings[1] == package.manifest.findings[1]
    assert [finding["verdict"] for finding in content["findings"]] == ["better", "not_enough"]


def test_each_finding_earns_its_own_low_tier(ledger: Ledger, tmp_path: Path, package: ModelPackage) -> None:
    read(ledger, package, QUERY, range(150), FINDINGS)
    read(ledger, package, AUDIT, range(150, 400), ("effusion",))
    read(ledger, package, AUDIT, range(400, 900), FINDINGS)
    assert night(ledger, tmp_path / "models") == "promoted"
    with ledger.read() as connection:
        live = load_package(models.champion(connection, "two").folder)
        labels = learning.change_records(connection, "two")[0]["content"]["dataset"]["labels"]
    assert all(entry.thresholds.low is not None for entry in live.manifest.findings)
    assert live.manifest.findings[0].thresholds != live.manifest.findings[1].thresholds
    assert sum(labels["effusion"]["gate"]) > sum(labels["pneumonia"]["gate"])
    assert live.manifest.metrics[0].finding == "pneumonia"
    assert live.manifest.metrics[1].finding == "effusion"
