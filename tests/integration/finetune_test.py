"""Fine-tuning of the whole network: resumable, judged by the same gate, and all history is embedded anew."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from sqlalchemy import select

from orthanc_al.errors import ConfigurationError, ModelError
from orthanc_al.inference.package import load_package
from orthanc_al.inference.session import Session
from orthanc_al.inference.variant import variant_of
from orthanc_al.learn import Guarantee, Plan, RetrainStage
from orthanc_al.learn.finetune import fine_tuning
from orthanc_al.learn.finetune.examples import validates
from orthanc_al.learn.snapshot import Role, build
from orthanc_al.ledger import Job, Ledger, learning, lineage, models, selections, training_cache
from orthanc_al.ledger.response import Response
from orthanc_al.ledger.schema import history_embeddings, predictions
from orthanc_al.ledger.selections import AUDIT, QUERY, Selection
from orthanc_al.ledger.training_cache import WantedInput
from orthanc_al.methods import audit
from orthanc_al.pipeline import Step
from tests.conftest import ROOT
from tests.support.learning_ledger import FINDING, put_prediction, put_read, put_study
from tests.support.tiny_package import tiny_model, tiny_package

pytestmark = pytest.mark.needs_torch
torch = pytest.importorskip("torch")
training = pytest.importorskip("orthanc_al.learn.finetune.training")
without_validation = pytest.importorskip("orthanc_al.learn.finetune.night").without_validation
onnx_network = pytest.importorskip("orthanc_al.learn.finetune.onnx_network")

NIGHT = 1_800_000_000.0
SIZE = 32
GUARANTEE = Guarantee(miss_rate=0.05, false_alarm_rate=0.10, delta=0.10)
PLAN = Plan.model_validate({"shadow": {"min_studies": 0, "min_hours": 0.0}})


@dataclass
class Site:
    """A site whose disease is a fine grating, of which the factory's network knows nothing yet."""

    ledger: Ledger
    folder: Path
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))
    studies: int = 0

    def __post_init__(self) -> None:
        self.package = tiny_package(self.folder / "factory", name="cxr", size=SIZE, limit=50.0)
        self.session = Session(self.package.contents.model)
        (self.folder / "cache").mkdir()
        with self.ledger.write() as connection:
            models.install(connection, self.package.ref, self.package.folder)

    def film(self, *, present: bool) -> np.ndarray:
        film = self.random.normal(size=(SIZE, SIZE))
        if present:
            film += 1.1 * np.sign(np.sin(np.arange(SIZE) * np.pi / 2.0 + 0.3))[np.newaxis]
        return ((film - film.mean()) / film.std())[np.newaxis].astype(np.float16)

    def read(self, kind: str, count: int, *, cached: bool = True) -> None:
        with self.ledger.write() as connection:
            for _ in range(count):
                self.studies += 1
                uid, present = f"1.2.{self.studies}", bool(self.random.random() < 0.4)
                film = self.film(present=present)
                seen = self.session.run(film[np.newaxis].astype(np.float32))
                put_study(connection, uid, arrived_at=NIGHT)
                put_prediction(
                    connection,
                    uid,
                    float(seen.logits[0, 0]),
                    embedding=seen.embedding[0],
                    model=self.package.ref,
                    scored_at=NIGHT,
                )
                fold = audit.fold_of("seed", uid) if kind == AUDIT else None
                drawn = Selection(uid, kind, "t", 0.1, "s", NIGHT, "2027-01-15", fold=fold, signed_at=NIGHT)
                selections.add(connection, drawn)
                put_read(connection, uid, present, at=NIGHT)
                if cached:
                    np.save(self.folder / "cache" / f"{self.studies}.npy", film)
                    image = WantedInput(uid, f"patient-of-{uid}", "i" * 32, 1, "cxr")
                    training_cache.add(connection, image, f"{self.studies}.npy", "p 1", NIGHT)

    def stage(
        self,
        *,
        plan: Plan = PLAN,
        folder: str = "models",
        finetune: bool = True,
        automatic: bool = True,
        **recipe: float,
    ) -> RetrainStage:
        made = self.folder / folder
        # A network of 64 weights bears more than one of millions.
        recipe = training.Recipe(**{"rate": 5e-4, **recipe})
        cache = self.folder / "cache"
        network = fine_tuning(made, cache, GUARANTEE, plan, recipe=recipe) if finetune else None
        return RetrainStage(
            self.ledger, made, GUARANTEE, plan, automatic=automatic, fine_tuning=network, clock=lambda: NIGHT
        )

    def night(self, **how: object) -> str:
        outcome = self.stage(**how).run(JOB)
        with self.ledger.write() as connection:
            outcome.write(connection)
        return outcome.name

    def champion(self) -> models.RegisteredModel:
        with self.ledger.read() as connection:
            return models.champion(connection, "cxr")

    def record(self) -> dict:
        with self.ledger.read() as connection:
            return learning.change_records(connection, "cxr")[0]


JOB = Job(1, Step.RETRAIN, "cxr", 1, "test")


@pytest.fixture
def site(ledger: Ledger, tmp_path: Path) -> Site:
    return Site(ledger, tmp_path)


def test_a_network_of_its_own_goes_live_behind_the_gate_and_the_next_head_is_fitted_on_it(site: Site) -> None:
    site.read(QUERY, 80)
    site.read(AUDIT, 240)
    site.read(QUERY, 5, cached=False)
    assert site.night() == "promoted"
    live = site.champion()
    package = load_package(live.folder)
    assert (live.origin, live.parent) == ("finetuned", site.package.ref.digest)
    assert package.contents.domain is not None
    assert "whole network was trained" in (live.folder / "MODEL_CARD.md").read_text()
    proposal = site.record()["content"]["findings"][0]["proposals"][0]
    assert (proposal["change"], proposal["verdict"]) == ("network", "better")
    better = next(check for check in proposal["checks"] if check["name"] == "AUC against the champion")
    assert better["figures"]["new"] > better["figures"]["old"] + 0.05
    # All history that has an input is embedded by the very file that is live.
    with site.ledger.read() as connection:
        rows = connection.execute(select(history_embeddings)).mappings().all()
        cases = learning.labelled_cases(
            connection, lineage.family(connection, live.ref.digest), live.ref.digest
        )
        assert lineage.anchor(connection, live.ref.digest).ref == live.ref
        assert lineage.factory(connection, live.ref.digest).ref == site.package.ref
    assert len(rows) == len(cases) == 320
    one = next(case for case in cases if case.study_instance_uid == "1.2.7")
    film = np.load(site.folder / "cache" / "7.npy")[np.newaxis].astype(np.float32)
    assert np.array_equal(one.embedding, Session(package.contents.model).run(film).embedding[0])
    assert not (site.folder / "models" / "cxr" / "finetune.pt").exists()
    # The next night's head is fitted on the new backbone; asked again, the same network is judged once.
    assert site.night(finetune=False) in ("promoted", "kept")
    assert site.record()["content"]["anchor"]["digest"] == live.ref.digest
    with site.ledger.write() as connection:
        back = models.rollback(connection, "cxr", "Ada", "a test")
        while back.ref != site.package.ref:
            back = models.rollback(connection, "cxr", "Ada", "a test")
    assert site.champion().ref == site.package.ref


def test_an_interrupted_training_goes_on_and_ends_in_the_same_bytes(site: Site, monkeypatch) -> None:
    site.read(QUERY, 80)
    site.read(AUDIT, 240)
    whole = site.stage(folder="whole").run(JOB)
    judge = training.Trainer._judge

    def killed(trainer: training.Trainer) -> None:
        judge(trainer)
        if trainer.epoch == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.Trainer, "_judge", killed)
    with pytest.raises(KeyboardInterrupt):
        site.stage(folder="cut").run(JOB)
    left = [path.name for path in (site.folder / "cut" / "cxr").iterdir()]
    assert sorted(left) == [".learning", "finetune.pt"]  # nothing half-made: a checkpoint alone
    assert site.champion().ref == site.package.ref
    seen = []
    monkeypatch.setattr(
        training.Trainer, "_judge", lambda trainer: (seen.append(trainer.epoch), judge(trainer))
    )
    resumed = site.stage(folder="cut").run(JOB)
    assert seen[0] == 3  # the epoch that was cut, and none before it
    assert whole.name == resumed.name
    digests = {
        load_package(next((site.folder / name / "cxr").glob("*.network.*"))).ref.digest
        for name in ("whole", "cut")
    }
    assert len(digests) == 1


def test_a_candidate_is_written_night_after_night_whatever_a_night_before_left(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is written before the ledger knows it: a night may end in between, and leaves it there."""
    site.read(QUERY, 80)
    site.read(AUDIT, 240)
    # Its end is lost each time: as it was; with an input less; with other bytes, as a GPU gives them.
    assert [site.stage(automatic=False).run(JOB).name for _ in range(2)] == ["candidate"] * 2
    made = site.folder / "models" / "cxr"
    assert len(list(made.glob("*.network.*"))) == 1  # the same bytes: the same folder
    (site.folder / "cache" / "3.npy").unlink()
    assert site.stage(automatic=False).run(JOB).name == "candidate"
    run = training.Trainer.run

    def otherwise(trainer: training.Trainer, *how: object) -> bytes:
        proto = onnx.load_model_from_string(run(trainer, *how))
        proto.producer_name = "another device"
        return proto.SerializeToString()

    monkeypatch.setattr(training.Trainer, "run", otherwise)
    assert site.night(automatic=False) == "candidate"
    assert site.record()["verdict"] == "better"
    # Judged is judged; the next night's reads make another one, which takes nothing from the first.
    trained = []
    monkeypatch.setattr(training.Trainer, "run", lambda *how: (trained.append(1), run(*how))[1])
    site.night(automatic=False)
    assert not trained
    site.read(QUERY, 2)
    assert site.night(automatic=False) == "candidate"
    assert trained
    with site.ledger.read() as connection:
        waiting = [one for one in models.versions(connection, "cxr") if one.origin == "finetuned"]
    assert [load_package(one.folder).ref for one in waiting] == [one.ref for one in waiting]
    assert len({one.ref.version for one in waiting}) == 2
    assert site.champion().ref == site.package.ref


def test_a_damaged_checkpoint_is_told_and_training_begins_anew(site: Site, capsys) -> None:
    site.read(QUERY, 80)
    site.read(AUDIT, 240)
    checkpoint = site.folder / "models" / "cxr" / "finetune.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"no checkpoint")
    assert site.night() in ("promoted", "kept")
    assert "checkpoint_not_read" in capsys.readouterr().out


def test_without_enough_inputs_it_says_so_and_tries_a_head(site: Site, capsys) -> None:
    site.read(QUERY, 60, cached=False)
    site.read(QUERY, 4)
    assert site.night() == "kept"
    assert "4 labelled training images are in the training cache" in capsys.readouterr().out
    assert site.record()["content"]["findings"][0]["proposals"][0]["change"] == "head"


def test_a_network_that_no_epoch_betters_is_no_candidate_and_a_head_is_tried(site: Site, capsys) -> None:
    """What it starts from has new heads already: that is a head's gain, and not the network's."""
    site.read(QUERY, 80)
    site.read(AUDIT, 240)
    site.night(rate=1e3)  # every step leads astray
    assert "network_gained_nothing" in capsys.readouterr().out
    assert site.record()["content"]["findings"][0]["proposals"][0]["change"] == "head"


def test_who_tells_when_to_stop_has_no_part_in_the_heads_that_training_starts_from(site: Site) -> None:
    site.read(QUERY, 80)
    with site.ledger.read() as connection:
        cases = learning.labelled_cases(connection, lineage.family(connection, site.package.ref.digest))
    made = build(site.package.ref.digest, cases, {}, {}, Response(0, 0), 0.2)
    starts = without_validation(made).select(FINDING, Role.TRAIN).rows
    assert 0 < len(starts) < 80
    assert not any(validates(case.patient_key) for case in starts)


def test_a_lost_input_costs_its_case_alone(site: Site) -> None:
    site.read(QUERY, 80)
    site.read(AUDIT, 240)
    (site.folder / "cache" / "3.npy").write_bytes(b"damaged")
    site.night()
    labels = site.record()["content"]["dataset"]["labels"][FINDING]
    assert sum(sum(counts) for counts in labels.values()) == 319


def test_a_plan_that_does_not_let_the_network_change_is_obeyed(site: Site) -> None:
    with pytest.raises(ConfigurationError, match=r"change\.may"):
        site.stage(plan=Plan.model_validate({"change": {"may": ["head"]}}))


def test_the_package_s_network_is_the_same_in_torch_and_goes_back_bit_by_bit() -> None:
    shipped = load_package(ROOT / "models" / "cxr-pneumonia").contents.model
    for model, size in ((shipped, 128), (tiny_model(SIZE, 2), SIZE)):
        network = onnx_network.OnnxNetwork(model).eval()
        films = np.random.default_rng(0).normal(size=(2, 1, size, size)).astype(np.float32)
        with torch.inference_mode():
            ours = [output.numpy() for output in network(torch.from_numpy(films))]
        theirs = Session(model).run(films)
        for one, other in zip(ours, (theirs.logits, theirs.embedding, theirs.feature_map), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)
        again = Session(network.to_onnx()).run(films)
        assert np.array_equal(again.logits, theirs.logits)
        assert np.array_equal(again.embedding, theirs.embedding)


def test_an_operator_that_is_not_known_is_named() -> None:
    proto = onnx.load_model_from_string(tiny_model(SIZE))
    proto.graph.node[1].op_type = "Softsign"
    with pytest.raises(ModelError, match="Softsign"):
        onnx_network.OnnxNetwork(proto.SerializeToString())


def test_predictions_of_the_worklist_are_not_touched(site: Site) -> None:
    site.read(QUERY, 80)
    site.read(AUDIT, 240)
    site.night()
    with site.ledger.read() as connection:
        assert set(connection.execute(select(predictions.c.model_digest)).scalars()) == {
            site.package.ref.digest
        }


def test_a_package_in_half_precision_is_not_fine_tuned_and_its_heads_learn_all_the_same(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.read(QUERY, 3)
    made = variant_of(site.package).write(site.folder / "half")
    with site.ledger.write() as connection:
        parent = site.package.ref.digest
        models.add(
            connection, made.ref, made.folder, parent=parent, origin=models.CONVERTED, state="candidate"
        )
        models.promote(connection, made.ref.digest, "a person", "a GPU came")
    capsys.readouterr()
    site.night()
    assert "its weights are in half precision" in "".join(capsys.readouterr())
    assert ".site." in site.record()["content"]["candidate_version"]  # its heads were learned all the same
    assert site.champion().ref == made.ref
