"""Studies of many slices with one label: the head is fitted on the study embedding that scoring uses."""

from pathlib import Path

import numpy as np
import pytest

from orthanc_al.domain import ImageScore, Study, StudyState
from orthanc_al.inference.head_swap import read_head
from orthanc_al.inference.package import ModelPackage, load_package
from orthanc_al.learn import Guarantee, Plan, RetrainStage
from orthanc_al.ledger import Job, Ledger, models, predictions, selections
from orthanc_al.ledger.selections import AUDIT, QUERY, Selection
from orthanc_al.methods import audit
from orthanc_al.methods.attention import Attention
from orthanc_al.methods.delong import compare
from orthanc_al.pipeline import Step
from orthanc_al.score.aggregate import aggregate
from tests.support.learning_ledger import put_read, put_study
from tests.support.tiny_package import CHANNELS, tiny_package

NIGHT = 1_800_000_000.0
SLICES = 6
# What is asked here is whether the head fits the embedding: a head that re-orders so much flips many.
PLAN = Plan.model_validate(
    {"shadow": {"min_studies": 0, "min_hours": 0.0}, "gate": {"max_flipped_negatives": 0.3}}
)
ATTENTION = Attention(np.eye(CHANNELS, dtype=np.float32), np.full(CHANNELS, 0.5, np.float32))
POOLINGS: list[dict] = [
    {"aggregation": "max"},
    {"aggregation": "mean"},
    {"aggregation": "top-k-mean", "top_k": 3},
    {"aggregation": "attention", "attention": ATTENTION},
]


def slices(package: ModelPackage, number: int) -> tuple[list[ImageScore], bool]:
    """A study's slices as the package scores them, and whether it has the finding: half of them tell."""
    rng = np.random.default_rng(number)
    factory = read_head(package.contents.model)[0][:, 0]
    across = np.array([factory[1], -factory[0], factory[3], -factory[2]])
    truth = 0.5 * factory / np.linalg.norm(factory) + across / np.linalg.norm(across)
    present = bool(rng.random() < 0.5)
    embeddings = rng.normal(size=(SLICES, CHANNELS)) * 0.7
    embeddings[: SLICES // 2] += (1.0 if present else -1.0) * 0.6 * truth
    weight, bias = read_head(package.contents.model)
    scores = [
        ImageScore(f"{number}-{k}", 1, (e @ weight + bias).astype(np.float32), e.astype(np.float32), (None,))
        for k, e in enumerate(embeddings)
    ]
    return scores, present


def study(number: int) -> Study:
    return Study(f"1.{number}", f"p{number}", "CT", StudyState.SCORED, 1, NIGHT, NIGHT, 0)


def read(ledger: Ledger, package: ModelPackage, kind: str, numbers: range) -> None:
    with ledger.write() as connection:
        for number in numbers:
            uid, (scores, present) = f"1.{number}", slices(package, number)
            put_study(connection, uid, arrived_at=NIGHT)
            predictions.put(connection, aggregate(study(number), scores, package, NIGHT))
            fold = audit.fold_of("seed", uid) if kind == AUDIT else None
            drawn = Selection(uid, kind, "t", 0.1, "s", NIGHT, "2027-01-15", fold=fold, signed_at=NIGHT)
            selections.add(connection, drawn)
            put_read(connection, uid, present, at=NIGHT)


@pytest.mark.parametrize("pooling", POOLINGS, ids=lambda pooling: pooling["aggregation"])
def test_labels_of_studies_teach_a_head_that_scores_their_slices_better(
    ledger: Ledger, tmp_path: Path, pooling: dict
) -> None:
    package = tiny_package(tmp_path / "factory", name="ct", **pooling)
    with ledger.write() as connection:
        models.install(connection, package.ref, package.folder)
    read(ledger, package, QUERY, range(120))
    read(ledger, package, AUDIT, range(120, 520))
    guarantee = Guarantee(0.05, 0.10, 0.10)
    stage = RetrainStage(ledger, tmp_path / "models", guarantee, PLAN, automatic=True, clock=lambda: NIGHT)
    outcome = stage.run(Job(1, Step.RETRAIN, "ct", 1, "test"))
    with ledger.write() as connection:
        outcome.write(connection)
        live = load_package(models.champion(connection, "ct").folder)
    assert outcome.name == "promoted"
    assert live.manifest.aggregation == pooling["aggregation"]
    assert live.manifest.files.get("attention.npz") == package.manifest.files.get("attention.npz")
    weight, bias = read_head(live.contents.model)
    said: dict[str, list[float]] = {"new": [], "old": []}
    labels = []
    for number in range(1000, 1300):
        for name, one in (("new", live), ("old", package)):
            scores, present = slices(package, number)  # the same films
            (made,) = aggregate(study(number), _rescored(scores, one), one, NIGHT)
            said[name].append(made.prediction.logit)
            if name == "new":
                # What was fitted is what scores: the head on the study's embedding.
                assert made.prediction.logit == pytest.approx(
                    float(made.embedding @ weight[:, 0] + bias[0]), abs=1e-4
                )
        labels.append(present)
    assert compare(said["new"], said["old"], np.array(labels, int)).difference > 0.03


def _rescored(scores: list[ImageScore], package: ModelPackage) -> list[ImageScore]:
    weight, bias = read_head(package.contents.model)
    return [
        ImageScore(
            s.instance_id, s.frame, (s.embedding @ weight + bias).astype(np.float32), s.embedding, (None,)
        )
        for s in scores
    ]
