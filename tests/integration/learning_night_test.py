"""Nights of learning through the ledger: reads come in, the gate decides, one row makes a package live."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from orthanc_al.domain.change_page import page
from orthanc_al.errors import LearningBusyError, LedgerError, ModelError, PackageRefusedError
from orthanc_al.inference.head_swap import read_head
from orthanc_al.inference.package import load_package
from orthanc_al.inference.variant import variant_of
from orthanc_al.learn import Guarantee, Plan, RetrainStage
from orthanc_al.learn.gate import judge
from orthanc_al.learn.judgement import GateCases, Scores, Training, Verdict
from orthanc_al.learn.lock import alone
from orthanc_al.ledger import Job, Ledger, datasets, learning, models, selections, shadow
from orthanc_al.ledger.predictions import pack
from orthanc_al.ledger.schema import change_records, patient_folds, predictions, reads
from orthanc_al.ledger.schema import datasets as dataset_table
from orthanc_al.ledger.schema import models as model_table
from orthanc_al.ledger.schema import promotions as promotion_table
from orthanc_al.ledger.selections import AUDIT, QUERY, Selection
from orthanc_al.ledger.shadow import ShadowScore
from orthanc_al.methods import audit
from orthanc_al.pipeline import Step
from tests.support.learning_ledger import FINDING, put_prediction, put_read, put_study
from tests.support.tiny_package import tiny_package

NIGHT = 1_800_000_000.0
# Without a time in shadow: the tests of the shadow ask for it.
NO_SHADOW = {"min_studies": 0, "min_hours": 0.0}
AT_ONCE = Plan.model_validate({"shadow": NO_SHADOW})
GUARANTEE = Guarantee(miss_rate=0.05, false_alarm_rate=0.10, delta=0.10)


@dataclass
class Hospital:
    """A site whose films the factory's head ranks poorly, and a radiologist who is always right."""

    ledger: Ledger
    folder: Path
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(11))
    studies: int = 0

    def __post_init__(self) -> None:
        self.package = tiny_package(self.folder / "factory", name="cxr")
        with self.ledger.write() as connection:
            models.install(connection, self.package.ref, self.package.folder)
        factory = read_head(self.package.contents.model)[0][:, 0]
        across = np.array(
            [factory[1], -factory[0], factory[3], -factory[2]]
        )  # tells what the factory ignores
        self.truth = factory / np.linalg.norm(factory) + 0.8 * across / np.linalg.norm(across)

    def read(
        self, kind: str, count: int, *, wrong: float = 0.0, ai_shown: bool = False, at: float = NIGHT
    ) -> None:
        """``count`` studies of as many patients arrive, are scored, drawn and read."""
        with self.ledger.write() as connection:
            for _ in range(count):
                self.studies += 1
                uid = f"1.2.{self.studies}"
                embedding = self.random.normal(size=4)
                present = bool(4.0 * (embedding @ self.truth) - 3.0 + self.random.logistic() > 0)
                put_study(connection, uid, arrived_at=at, sex=self.random.choice(["F", "M"]))
                logit = float(embedding @ read_head(self.package.contents.model)[0][:, 0])
                put_prediction(
                    connection, uid, logit, embedding=embedding, model=self.package.ref, scored_at=NIGHT
                )
                self._draw(connection, uid, kind)
                said = not present if self.random.random() < wrong else present
                put_read(connection, uid, said, at=NIGHT, ai_shown=ai_shown)

    def _draw(self, connection: object, uid: str, kind: str) -> None:
        fold = audit.fold_of("seed", uid) if kind == AUDIT else None
        drawn = Selection(uid, kind, "test", 0.1, "seed", NIGHT, "2027-01-15", fold=fold, signed_at=NIGHT)
        selections.add(connection, drawn)

    def night(self, *, automatic: bool = False, plan: Plan | None = None, after: float = 0.0) -> str:
        """Retrain once; return the outcome."""
        stage = RetrainStage(
            self.ledger,
            self.folder / "models",
            GUARANTEE,
            plan or AT_ONCE,
            automatic=automatic,
            clock=lambda: NIGHT + after,
        )
        outcome = stage.run(Job(1, Step.RETRAIN, "cxr", 1, "test"))
        with self.ledger.write() as connection:
            outcome.write(connection)
        return outcome.name

    def champion(self) -> models.RegisteredModel:
        with self.ledger.read() as connection:
            found = models.champion(connection, "cxr")
        assert found is not None
        return found

    def records(self) -> list[dict]:
        with self.ledger.read() as connection:
            return learning.change_records(connection, "cxr")


@pytest.fixture
def hospital(ledger: Ledger, tmp_path: Path) -> Hospital:
    return Hospital(ledger, tmp_path)


def test_enough_good_labels_make_a_candidate_that_waits_for_a_person(hospital: Hospital) -> None:
    hospital.read(QUERY, 120)
    hospital.read(AUDIT, 400)
    assert hospital.night() == "candidate"
    (record,) = hospital.records()
    assert record["verdict"] == "better"
    assert hospital.champion().ref == hospital.package.ref
    with hospital.ledger.read() as connection:
        candidate = models.get(connection, record["candidate"])
    assert candidate.state == "candidate"
    assert candidate.parent == hospital.package.ref.digest
    page = (candidate.folder.parent / f"{candidate.ref.version}.md").read_text()
    assert "**better**" in page
    assert "rollback" in page


def test_promotion_and_rollback_swap_head_calibrator_and_thresholds_as_one(hospital: Hospital) -> None:
    hospital.read(QUERY, 120)
    hospital.read(AUDIT, 800)
    assert hospital.night(automatic=True) == "promoted"
    live = load_package(hospital.champion().folder)
    assert live.ref == hospital.champion().ref
    factory, site = hospital.package.manifest.findings[0], live.manifest.findings[0]
    heads = [read_head(package.contents.model)[0] for package in (live, hospital.package)]
    assert not np.array_equal(*heads)
    assert site.calibrator != factory.calibrator
    assert site.thresholds.low is not None
    assert factory.thresholds.low is None
    with hospital.ledger.write() as connection:
        assert models.rollback(connection, "cxr", "someone", "a test").ref == hospital.package.ref
    assert load_package(hospital.champion().folder).manifest == hospital.package.manifest


def test_too_few_audit_labels_are_not_enough_and_nothing_is_written(hospital: Hospital) -> None:
    hospital.read(QUERY, 60)
    hospital.read(AUDIT, 30)
    assert hospital.night(automatic=True) == "kept"
    assert [record["verdict"] for record in hospital.records()] == ["not_enough"]
    assert hospital.champion().ref == hospital.package.ref
    assert not any(path.is_dir() for path in (hospital.folder / "models" / "cxr").iterdir())


def test_poisoned_labels_never_go_live(hospital: Hospital) -> None:
    hospital.read(QUERY, 120, wrong=0.5)
    hospital.read(AUDIT, 400)
    plan = Plan.model_validate({"change": {"may": ["head"]}, "shadow": NO_SHADOW})
    assert hospital.night(automatic=True, plan=plan) == "kept"
    assert hospital.records()[0]["verdict"] == "not_better"
    hospital.read(QUERY, 200, wrong=1.0)
    assert hospital.night(automatic=True, plan=plan) == "kept"
    assert hospital.champion().ref == hospital.package.ref


def test_the_same_reads_give_the_same_bytes_and_are_judged_once(hospital: Hospital, tmp_path: Path) -> None:
    hospital.read(QUERY, 120)
    hospital.read(AUDIT, 400)
    folders = [tmp_path / name for name in ("one", "two")]
    job = Job(1, Step.RETRAIN, "cxr", 1, "test")
    outcomes = [
        RetrainStage(hospital.ledger, made, GUARANTEE, AT_ONCE, automatic=False, clock=lambda: NIGHT).run(job)
        for made in folders
    ]
    digests = [load_package(next(made.glob("cxr/*/model.onnx")).parent).ref.digest for made in folders]
    assert digests[0] == digests[1]
    for outcome in outcomes:
        with hospital.ledger.write() as connection:
            outcome.write(connection)
    assert hospital.night() == "nothing_new"
    with hospital.ledger.read() as connection:
        assert len(models.versions(connection, "cxr")) == 2  # the factory's and this one


def test_nothing_read_is_nothing_new(hospital: Hospital) -> None:
    assert hospital.night() == "nothing_new"
    assert hospital.records() == []


def test_the_champion_of_one_night_is_what_the_next_has_to_beat(hospital: Hospital) -> None:
    hospital.read(QUERY, 150)
    hospital.read(AUDIT, 400)
    assert hospital.night(automatic=True) == "promoted"
    first = hospital.champion()
    hospital.read(QUERY, 1)
    plan = Plan.model_validate({"change": {"may": ["head"]}, "shadow": NO_SHADOW})
    assert hospital.night(automatic=True, plan=plan) == "kept"
    assert hospital.champion().ref == first.ref
    assert hospital.records()[0]["champion"] == first.ref.digest


def test_new_audits_alone_move_the_thresholds_and_keep_the_head(hospital: Hospital) -> None:
    hospital.read(QUERY, 150)
    hospital.read(AUDIT, 400)
    hospital.night(automatic=True)
    first = load_package(hospital.champion().folder)
    hospital.read(AUDIT, 300)
    assert hospital.night(automatic=True) == "promoted"
    second = load_package(hospital.champion().folder)
    assert second.ref != first.ref
    assert second.contents.model == first.contents.model
    assert second.manifest.findings[0].thresholds != first.manifest.findings[0].thresholds
    assert [p["change"] for p in hospital.records()[0]["content"]["findings"][0]["proposals"]] == [
        "head",
        "calibrator and thresholds",
    ]


def test_audits_that_nobody_reads_take_the_low_tier_away(hospital: Hospital) -> None:
    hospital.read(QUERY, 120)
    hospital.read(AUDIT, 800)
    assert hospital.night(automatic=True) == "promoted"
    assert load_package(hospital.champion().folder).manifest.findings[0].thresholds.low is not None
    with hospital.ledger.write() as connection:
        for number in range(300):
            uid = f"unread.{number}"
            put_study(connection, uid)
            selections.add(
                connection, Selection(uid, AUDIT, "test", 0.1, "s", NIGHT, "2027-01-15", fold="gate")
            )
    assert hospital.night(automatic=True, after=30 * 86400.0) == "promoted"
    assert load_package(hospital.champion().folder).manifest.findings[0].thresholds.low is None


def test_reads_that_saw_the_ai_judge_nothing(hospital: Hospital) -> None:
    hospital.read(QUERY, 120)
    hospital.read(AUDIT, 400, ai_shown=True)
    assert hospital.night(automatic=True) == "kept"
    labels = hospital.records()[0]["content"]["dataset"]["labels"][FINDING]
    assert labels["gate"] == [0, 0]
    assert sum(labels["left_out"]) == 400


def test_a_patient_stays_in_the_fold_that_she_first_had(hospital: Hospital) -> None:
    hospital.read(QUERY, 10)
    hospital.night()
    with hospital.ledger.write() as connection:
        put_study(connection, "9.9", patient="patient-of-1.2.1")
        put_prediction(connection, "9.9", 0.0, embedding=np.zeros(4), model=hospital.package.ref)
        selections.add(connection, Selection("9.9", AUDIT, "t", 0.1, "s", NIGHT, "2027-01-15", fold="gate"))
        put_read(connection, "9.9", present=True)
    hospital.night()
    with hospital.ledger.read() as connection:
        assert learning.folds(connection)["patient-of-1.2.1"] == "train"
        assert connection.execute(select(func.count()).select_from(patient_folds)).scalar() == 10
    content = hospital.records()[0]["content"]
    assert content["verdict"] == "refused"  # all audits that there are belong to patients trained on
    assert content["dataset"]["labels"][FINDING]["gate"] == [0, 0]


def test_a_candidate_judged_against_another_champion_does_not_go_live(hospital: Hospital) -> None:
    hospital.read(QUERY, 120)
    hospital.read(AUDIT, 400)
    other = tiny_package(hospital.folder / "other", name="cxr", version="2", seed=3)
    stage = RetrainStage(
        hospital.ledger, hospital.folder / "models", GUARANTEE, AT_ONCE, automatic=True, clock=lambda: NIGHT
    )
    outcome = stage.run(Job(1, Step.RETRAIN, "cxr", 1, "test"))
    with hospital.ledger.write() as connection:
        models.install(connection, other.ref, other.folder)
        outcome.write(connection)
    assert hospital.champion().ref == other.ref
    with hospital.ledger.read() as connection:
        assert connection.execute(select(func.count()).select_from(change_records)).scalar() == 1


def test_a_name_without_a_live_package_is_told(hospital: Hospital) -> None:
    stage = RetrainStage(hospital.ledger, hospital.folder, GUARANTEE, AT_ONCE, automatic=False)
    with pytest.raises(ModelError, match="No package of unknown is live"):
        stage.run(Job(1, Step.RETRAIN, "unknown", 1, "test"))


def test_a_package_that_is_not_the_ledger_s_is_refused(hospital: Hospital) -> None:
    hospital.read(QUERY, 10)
    shutil.rmtree(hospital.package.folder)
    tiny_package(hospital.package.folder, name="cxr", seed=5)
    with pytest.raises(PackageRefusedError, match="the ledger says"):
        hospital.night()


def test_a_head_that_onnx_runtime_computes_otherwise_is_kept_out(hospital: Hospital) -> None:
    hospital.read(QUERY, 120)
    hospital.read(AUDIT, 400)
    plan = Plan.model_validate({"gate": {"parity": 1e-30}, "shadow": NO_SHADOW})
    assert hospital.night(automatic=True, plan=plan) == "kept"
    (record,) = hospital.records()
    assert record["verdict"] == "refused"
    assert "ONNX Runtime" in record["content"]["refusal"]


# --- a night in shadow ------------------------------------------------------------------------------------

IN_SHADOW = Plan.model_validate({"shadow": {"min_studies": 3, "min_hours": 0.0, "max_days": 2.0}})


def beside(hospital: Hospital, digest: str, studies: int) -> None:
    """A candidate scored some studies as the champion does."""
    with hospital.ledger.write() as connection:
        shadow.put(
            connection,
            [
                ShadowScore(f"9.{n}", digest, hospital.package.ref.digest, FINDING, NIGHT)
                for n in range(studies)
            ],
        )


def test_a_better_candidate_goes_live_by_itself_after_its_night_in_shadow_alone(hospital: Hospital) -> None:
    hospital.read(QUERY, 120)
    hospital.read(AUDIT, 400)
    assert hospital.night(automatic=True, plan=IN_SHADOW) == "candidate"
    digest = hospital.records()[0]["candidate"]
    beside(hospital, digest, 2)
    hospital.read(QUERY, 1)
    assert hospital.night(automatic=True, plan=IN_SHADOW) == "in_shadow"  # and no new one is made meanwhile
    assert len(hospital.records()) == 1
    beside(hospital, digest, 3)
    assert hospital.night(automatic=True, plan=IN_SHADOW) == "promoted"
    assert hospital.champion().ref.digest == digest
    with hospital.ledger.read() as connection:
        assert "3 studies in shadow" in models.history(connection, "cxr")[0].reason


def test_a_candidate_that_is_never_done_gives_way_to_a_newer_one(hospital: Hospital) -> None:
    hospital.read(QUERY, 120)
    hospital.read(AUDIT, 400)
    hospital.night(automatic=True, plan=IN_SHADOW)
    hospital.read(QUERY, 5)
    with hospital.ledger.write() as connection:
        connection.execute(model_table.update().values(created_at=NIGHT - 3 * 86400.0))
    assert hospital.night(automatic=True, plan=IN_SHADOW) == "candidate"
    assert len({record["candidate"] for record in hospital.records()}) == 2


def test_where_a_person_promotes_the_next_night_learns_on(hospital: Hospital) -> None:
    hospital.read(QUERY, 120)
    hospital.read(AUDIT, 400)
    hospital.night(plan=IN_SHADOW)
    beside(hospital, hospital.records()[0]["candidate"], 3)
    assert hospital.night(plan=IN_SHADOW) == "nothing_new"
    assert hospital.champion().ref == hospital.package.ref


# --- the watch over the champion ---------------------------------------------------------------------------


def turn(hospital: Hospital) -> None:
    """From now on the disease looks otherwise: what the champion learned is wrong."""
    hospital.truth = -hospital.truth


def test_an_audit_that_goes_wrong_takes_the_champion_back_by_itself(hospital: Hospital) -> None:
    hospital.read(QUERY, 120)
    hospital.read(AUDIT, 400)
    assert hospital.night(automatic=True) == "promoted"
    first = hospital.champion()
    live_since(hospital, NIGHT + 1.0)
    turn(hospital)
    hospital.read(AUDIT, 80, at=NIGHT + 2.0)
    assert hospital.night(automatic=True, after=10.0) == "withdrawn"
    assert hospital.champion().ref == hospital.package.ref
    record = hospital.records()[0]
    assert record["verdict"] == "withdrawn"
    assert any(chart["alarm"] is not None for chart in record["content"]["charts"])
    text = (hospital.folder / "models" / "cxr" / f"{first.ref.version}.withdrawn.md").read_text()
    assert "is live again" in text
    assert f"models promote cxr {first.ref.version}" in text


def test_where_a_person_decides_the_alarm_is_told_once_and_learning_goes_on(hospital: Hospital) -> None:
    hospital.read(QUERY, 120)
    hospital.read(AUDIT, 400)
    hospital.night(automatic=True)
    live = hospital.champion()
    live_since(hospital, NIGHT + 1.0)
    turn(hospital)
    hospital.read(AUDIT, 80, at=NIGHT + 2.0)
    assert hospital.night(after=10.0) == "alarm"
    assert hospital.champion().ref == live.ref
    assert hospital.night(after=20.0) in ("candidate", "kept")
    assert [record["verdict"] for record in hospital.records()].count("alarm") == 1


def test_a_champion_that_does_as_it_was_judged_stays(hospital: Hospital) -> None:
    hospital.read(QUERY, 120)
    hospital.read(AUDIT, 400)
    hospital.night(automatic=True)
    live_since(hospital, NIGHT + 1.0)
    hospital.read(AUDIT, 80, at=NIGHT + 2.0)
    assert hospital.night(automatic=True, after=10.0) not in ("withdrawn", "alarm")


def live_since(hospital: Hospital, at: float) -> None:
    with hospital.ledger.write() as connection:
        connection.execute(promotion_table.update().values(at=at))


# --- bad input ----------------------------------------------------------------------------------------------


def test_two_retrains_at_once_are_one(hospital: Hospital) -> None:
    hospital.read(QUERY, 20)
    with alone(hospital.folder / "models", "cxr"):
        with pytest.raises(LearningBusyError, match="Another process is learning for cxr"):
            hospital.night()
        with alone(hospital.folder / "models", "another"):
            pass
    assert hospital.night() == "kept"


def test_fewer_than_ten_reads_and_one_class_are_not_enough_and_say_so(hospital: Hospital) -> None:
    hospital.read(QUERY, 9)
    assert hospital.night(automatic=True) == "kept"
    checks = hospital.records()[0]["content"]["findings"][0]["proposals"][0]["checks"]
    assert [check["text"] for check in checks if not check["passed"]] == [
        "2 positive and 7 negative (at least 5 and 5)",
        "0 positive and 0 negative (at least 20 and 40)",
    ]
    with hospital.ledger.write() as connection:
        connection.execute(reads.update().values(value="absent"))
    assert hospital.night(automatic=True) == "kept"
    assert [record["verdict"] for record in hospital.records()] == ["not_enough"] * 2
    assert hospital.champion().ref == hospital.package.ref


def test_labels_that_contradict_each_other_teach_nothing(hospital: Hospital) -> None:
    hospital.read(QUERY, 12)
    with hospital.ledger.write() as connection:
        connection.execute(reads.update().where(reads.c.id > 2).values(state="conflict"))
    hospital.night()
    labels = hospital.records()[0]["content"]["dataset"]["labels"][FINDING]["train"]
    assert sum(labels) == 2


def test_an_embedding_that_is_no_number_is_left_out_and_told(hospital: Hospital) -> None:
    hospital.read(QUERY, 30)
    with hospital.ledger.write() as connection:
        put_study(connection, "9.9")
        put_prediction(connection, "9.9", 0.0, embedding=[np.nan] * 4, model=hospital.package.ref)
        put_read(connection, "9.9", present=True)
    assert hospital.night() == "kept"
    content = hospital.records()[0]["content"]
    assert content["dataset"]["left_out"] == [
        f"study 9.9, {FINDING}: an embedding that is not finite",
    ]
    assert "9.9" in page(content)


def test_embeddings_of_another_length_than_the_head_s_stop_the_night_with_both_lengths(
    hospital: Hospital,
) -> None:
    hospital.read(QUERY, 10)
    with hospital.ledger.write() as connection:
        connection.execute(predictions.update().values(embedding=pack(np.zeros(6, np.float32))))
    with pytest.raises(ModelError, match=r"length 6, the head of cxr 1 .* takes 4"):
        hospital.night()
    assert hospital.champion().ref == hospital.package.ref


def test_a_data_set_that_was_changed_in_the_ledger_stops_the_night(hospital: Hospital) -> None:
    hospital.read(QUERY, 30)
    hospital.night()
    digest = hospital.records()[0]["dataset_digest"]
    with hospital.ledger.write() as connection:
        content = datasets.get(connection, digest)
        content["cases"][0]["present"] = not content["cases"][0]["present"]
        connection.execute(dataset_table.update().values(content=content))
        connection.execute(change_records.delete())
    with pytest.raises(LedgerError, match="is not what was learned from"):
        hospital.night()
    assert hospital.records() == []  # nothing of the night is half-written


def test_a_patient_in_two_splits_is_refused() -> None:
    """No way through the ledger leads here: a snapshot gives each patient one fold. The gate looks anyway."""
    rng = np.random.default_rng(0)
    labels = (rng.random(200) < 0.4).astype(np.int64)
    scores = Scores(rng.normal(size=200), rng.random(200), 0.5)
    test = GateCases(labels, tuple(f"p{n}" for n in range(200)), scores, scores, scores)
    judgement = judge(Training(50, 50, frozenset({"p3", "q"}), 0.0, new_head=True), test, Plan())
    assert judgement.verdict is Verdict.REFUSED
    assert judgement.failed[0].text == "1 patients are in training and test"


def test_a_variant_in_half_precision_goes_live_by_a_person_s_word_alone(hospital: Hospital) -> None:
    """No gate judged it: its time in shadow lets a person promote it, and nobody else."""
    made = variant_of(hospital.package).write(hospital.folder / "half")
    with hospital.ledger.write() as connection:
        models.add(
            connection,
            made.ref,
            made.folder,
            parent=hospital.package.ref.digest,
            origin=models.CONVERTED,
            state="candidate",
            at=NIGHT,
        )
    plan = Plan.model_validate({"shadow": {"min_studies": 0, "min_hours": 1.0}})
    assert hospital.night(automatic=True, plan=plan) == "in_shadow"
    assert hospital.night(automatic=True, plan=plan, after=7200.0) == "nothing_new"
    assert hospital.champion().ref == hospital.package.ref


def test_a_variant_that_is_live_is_learned_on_from_what_was_read_before(hospital: Hospital) -> None:
    hospital.read(QUERY, 80)
    hospital.read(AUDIT, 300)
    made = variant_of(hospital.package).write(hospital.folder / "half")
    with hospital.ledger.write() as connection:
        models.add(
            connection,
            made.ref,
            made.folder,
            parent=hospital.package.ref.digest,
            origin=models.CONVERTED,
            state="candidate",
            at=NIGHT,
        )
        models.promote(connection, made.ref.digest, "a person", "a GPU came")
    assert hospital.night(automatic=True) == "promoted"
    live = hospital.champion()
    assert (live.parent, live.origin) == (made.ref.digest, "retrained")
    run = load_package(live.folder).manifest.run
    assert (run.precision, run.thresholds_precision) == ("fp16", "fp32")  # all reads are from before
