"""`orthanc-al models fp16`, as a person types it: what it makes, tells, and refuses."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from typer.testing import CliRunner, Result

from orthanc_al.cli import common
from orthanc_al.cli import models as commands
from orthanc_al.cli.app import app
from orthanc_al.errors import ConfigurationError, ModelError, PackageRefusedError
from orthanc_al.inference import package as packages
from orthanc_al.inference import variant as variants
from orthanc_al.inference.manifest import Run
from orthanc_al.inference.package import load_package
from orthanc_al.inference.running import Models
from orthanc_al.inference.session import CUDA, Session
from orthanc_al.ledger import Ledger, lineage, models, trail
from orthanc_al.ledger.schema import training_cache
from tests.support.radiographs import wrap
from tests.support.tiny_package import tiny_model, tiny_package


class Desk:
    """A configuration with a ledger and a live package, and somebody who types."""

    def __init__(self, folder: Path, **keys: object) -> None:
        self.folder = folder
        self.live = tiny_package(folder / "live", name="cxr", **keys)
        (folder / "plan.toml").write_text("[shadow]\nmin_studies = 1\nmin_hours = 0.0\n")
        self.config = folder / "orthanc-al.toml"
        self.config.write_text(
            '[learn]\npccp = "plan.toml"\n[[models]]\npackage = "live"\n'
            '[storage]\nledger = "sqlite:///ledger.sqlite"\ntraining_cache = "cache"\nmodels = "models"\n'
        )
        self.ledger = Ledger.create(f"sqlite:///{folder}/ledger.sqlite")
        with self.ledger.write() as connection:
            models.install(connection, self.live.ref, self.live.folder)

    def say(self, *words: str) -> Result:
        return CliRunner().invoke(app, ["--config", str(self.config), "models", *words])

    def refused(self, *words: str, kind: type[Exception] = ModelError) -> str:
        """Return what is told; nothing was written, and nothing is known beside what was before."""
        before = self.known()
        result = self.say("fp16", *words, "--anyway")
        assert isinstance(result.exception, kind), result.output
        assert self.known() == before
        assert not (self.folder / "models" / "cxr" / "1.fp16").exists()
        return str(result.exception)

    def known(self) -> list[models.RegisteredModel]:
        with self.ledger.read() as connection:
            return models.versions(connection, "cxr")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    # Logs would go to the runner's stream, which is closed when the next test logs.
    monkeypatch.setattr(common, "configure_logging", lambda *_, **__: None)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def scaled(factor: float) -> bytes:
    proto = onnx.load_model_from_string(tiny_model())
    kernel = proto.graph.initializer[0]
    larger = numpy_helper.to_array(kernel) * np.float32(factor)
    kernel.CopyFrom(numpy_helper.from_array(larger, kernel.name))
    return bytes(proto.SerializeToString())


def test_without_a_gpu_the_figures_are_told_and_nothing_is_made(desk: Desk) -> None:
    result = desk.say("fp16", "cxr")
    assert result.exit_code == 0
    for told in ("size, MB", "one film, ms", "logit", "probability", "largest value inside", "for GPUs"):
        assert told in result.output
    assert "nothing was made" in " ".join(result.output.split())
    assert len(desk.known()) == 1
    assert not (desk.folder / "models").exists()


def test_with_a_gpu_the_variant_is_made_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: no GPU is here."""
    monkeypatch.setattr(
        variants,
        "Session",
        lambda model, threads, *, cpu=False, tensorrt: _says(Session(model, threads), cpu),
    )
    result = desk.say("fp16", "cxr")
    assert "is a candidate" in result.output
    assert "On this CPU" not in result.output


def _says(session: Session, cpu: bool) -> Session:
    if not cpu:
        session._provider = CUDA
    return session


def test_the_variant_is_a_candidate_that_names_its_parent(desk: Desk) -> None:
    result = desk.say("fp16", "cxr", "--anyway", "--by", "dr-who", "--json")
    said = json.loads(result.output)
    assert said["figures"]["logit_worst"] < 0.04
    live, made = desk.known()
    assert said["made"]["ref"]["digest"] == made.ref.digest
    assert (made.parent, made.origin, made.state) == (live.ref.digest, "converted", "candidate")
    package = load_package(made.folder)
    assert package.manifest.parent == live.ref.digest
    assert package.manifest.run == Run(precision="fp16", thresholds_precision="fp32")
    assert package.manifest.findings == desk.live.manifest.findings
    assert "half precision" in (made.folder / "MODEL_CARD.md").read_text()
    Models().get(made.folder, made.ref).session.run(np.zeros((1, 1, 32, 32), np.float32))
    with desk.ledger.read() as connection:
        assert models.live(connection, "cxr").ref == live.ref
        assert lineage.anchor(connection, made.ref.digest).ref == live.ref
        assert lineage.fitted(connection, made.ref.digest).ref == live.ref
        assert lineage.fitted(connection, live.ref.digest).ref == live.ref
        assert made.ref.digest in lineage.family(connection, live.ref.digest)
        told = trail.recent(connection, 1)[0]
    assert (told["actor"], told["action"], told["subject"]) == ("dr-who", "model_converted", made.ref.digest)


def test_the_distance_from_the_domain_is_told(tmp_path: Path) -> None:
    said = json.loads(Desk(tmp_path, limit=0.5).say("fp16", "cxr", "--json").output)
    assert 0.0 < said["figures"]["domain_worst"] < 0.1


def test_made_again_it_is_the_same(desk: Desk) -> None:
    for _ in range(2):
        assert desk.say("fp16", "cxr", "1", "--anyway").exit_code == 0
    assert [model.ref.version for model in desk.known()] == ["1", "1.fp16"]


def test_it_goes_live_as_the_plan_of_changes_lets_it(desk: Desk) -> None:
    desk.say("fp16", "cxr", "--anyway")
    early = desk.say("promote", "cxr", "1.fp16", "--reason", "GPU")
    assert "it scored 0 of 1 studies in shadow" in str(early.exception)
    (desk.folder / "plan.toml").write_text("[shadow]\nmin_studies = 0\nmin_hours = 0.0\n")
    assert desk.say("promote", "cxr", "1.fp16", "--reason", "GPU").exit_code == 0
    assert "half precision already" in str(desk.say("fp16", "cxr").exception)


def test_films_of_the_training_cache_are_compared(desk: Desk) -> None:
    (desk.folder / "cache").mkdir()
    film = np.random.default_rng(1).normal(size=(1, 32, 32)).astype(np.float16)
    files = {"a.npy": film, "b.npy": film[:, :8], "lost.npy": None}
    with desk.ledger.write() as connection:
        for number, (name, pixels) in enumerate(files.items()):
            if pixels is not None:
                np.save(desk.folder / "cache" / name, pixels)
            connection.execute(
                training_cache.insert().values(
                    study_instance_uid=f"1.{number}",
                    instance_id=f"{number}",
                    frame=0,
                    patient_key="p",
                    file=name,
                    preprocessing="grey-square 1",
                    created_at=0.0,
                )
            )
    assert json.loads(desk.say("fp16", "cxr", "--json").output)["figures"]["films"] == 1


def test_films_of_a_folder_are_compared(desk: Desk) -> None:
    (desk.folder / "films").mkdir()
    pixels = np.random.default_rng(1).integers(0, 255, (64, 48), np.uint8)
    wrap(pixels, 1).save_as(desk.folder / "films" / "a.dcm", enforce_file_format=True)
    (desk.folder / "films" / "notes.txt").write_text("no image")
    said = desk.say("fp16", "cxr", "--json", "--films", str(desk.folder / "films"))
    assert json.loads(said.output)["figures"]["films"] == 1


def test_a_file_that_goes_meanwhile_is_a_film_less(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk.folder / "films").mkdir()
    pixels = np.random.default_rng(1).integers(0, 255, (64, 48), np.uint8)
    wrap(pixels, 1).save_as(desk.folder / "films" / "a.dcm", enforce_file_format=True)
    gone = desk.folder / "films" / "gone.dcm"
    monkeypatch.setattr(commands, "files_in", lambda folder: [gone, folder / "a.dcm"])
    said = desk.say("fp16", "cxr", "--json", "--films", str(desk.folder / "films"))
    assert json.loads(said.output)["figures"]["films"] == 1


def test_a_folder_that_may_not_be_looked_at_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "is_dir", forbidden)
    with pytest.raises(ConfigurationError, match=r"can't be looked at \(Permission denied\): give"):
        common.files_in(desk.folder / "films")


def test_a_folder_without_images_is_refused(desk: Desk) -> None:
    (desk.folder / "films").mkdir()
    assert "None of the files" in desk.refused(
        "cxr", "--films", f"{desk.folder}/films", kind=ConfigurationError
    )
    assert "no folder" in desk.refused("cxr", "--films", f"{desk.folder}/none", kind=ConfigurationError)


def test_what_is_not_known_or_never_was_live_is_refused(desk: Desk) -> None:
    assert "There is no package cxr 7" in desk.refused("cxr", "7")
    assert "No package of hand is live" in desk.refused("hand")
    made = tiny_package(desk.folder / "candidate", name="cxr", version="2", seed=1)
    with desk.ledger.write() as connection:
        parent = desk.live.ref.digest
        models.add(connection, made.ref, made.folder, parent=parent, origin="retrained", state="candidate")
    assert "never was live" in desk.refused("cxr", "2")
    # It would take that one's place in shadow.
    assert "a newer candidate would take its place" in desk.refused("cxr")
    (desk.folder / "plan.toml").write_text("[shadow]\nmin_studies = 1\nmax_days = 1e-9\n")
    assert desk.say("fp16", "cxr", "--anyway").exit_code == 0


def test_a_variant_that_was_refused_stays_so(desk: Desk) -> None:
    desk.say("fp16", "cxr", "--anyway")
    made = desk.known()[1]
    with desk.ledger.write() as connection:
        models.add(connection, made.ref, made.folder, parent=made.parent, origin=made.origin, state="refused")
    assert "was refused" in str(desk.say("fp16", "cxr", "--anyway").exception)
    assert desk.known()[1].state == "refused"


@pytest.mark.parametrize(
    ("factor", "told"),
    [(15000.0, r"a value inside reaches \d.*half precision ends at 65504"), (1e6, "weights 'conv.weight'")],
)
def test_what_overflows_is_refused_and_not_infinite(tmp_path: Path, factor: float, told: str) -> None:
    desk = Desk(tmp_path, change=lambda _: scaled(factor))
    with pytest.raises(PackageRefusedError, match=told):
        raise PackageRefusedError(desk.refused("cxr", kind=PackageRefusedError))


def test_operators_that_know_no_half_precision_are_refused(tmp_path: Path) -> None:
    """An 8-bit network: its scales are float32."""

    def quantized(model: bytes) -> bytes:
        proto = onnx.load_model_from_string(model)
        proto.graph.node[0].output[0] = "raw"
        proto.graph.node.insert(1, helper.make_node("DynamicQuantizeLinear", ["raw"], ["q", "s", "z"]))
        proto.graph.node.insert(2, helper.make_node("DequantizeLinear", ["q", "s", "z"], ["convolved"]))
        return bytes(proto.SerializeToString())

    said = Desk(tmp_path, change=quantized).refused("cxr", kind=PackageRefusedError)
    assert "can't be had in half precision: ONNX Runtime" in said


def test_logits_that_are_too_far_off_are_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "PARITY", 1e-9)
    assert "its logits differ by" in desk.refused("cxr", kind=PackageRefusedError)


def test_probabilities_that_are_too_far_off_are_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "SCORE", 0.0)
    assert "its probabilities differ by" in desk.refused("cxr", kind=PackageRefusedError)


@pytest.mark.parametrize("where", ["logits", "map"])
def test_what_is_not_finite_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    run = Session.run
    calls = iter(range(10))

    def overflowing(self: Session, batch: np.ndarray) -> object:
        outputs = run(self, batch)
        if next(calls) == 1:  # the second is that in half precision
            if where == "logits":
                raise ModelError("the model's output is not a finite number")
            outputs.feature_map[0, 0, 0, 0] = np.inf
        return outputs

    monkeypatch.setattr(Session, "run", overflowing)
    assert "finite number" in desk.refused("cxr", kind=PackageRefusedError)


def test_thresholds_of_a_device_that_is_not_here_can_not_be_compared(tmp_path: Path) -> None:
    desk = Desk(tmp_path, run=Run(thresholds_on="cuda"))
    assert "were computed on CUDAExecutionProvider" in desk.refused("cxr")


@pytest.mark.parametrize(
    ("fault", "told"), [(errno.ENOSPC, "No space left"), (errno.EACCES, "Permission denied")]
)
def test_a_disk_that_takes_nothing_more_is_told_and_nothing_is_left(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fault: int, told: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(packages, "_write_durably", full)
    said = desk.refused("cxr")
    assert told in said
    assert "nothing was left there" in said
    assert list((desk.folder / "models" / "cxr").iterdir()) == []


def test_a_file_where_the_folder_should_be_is_told(desk: Desk) -> None:
    (desk.folder / "models").write_text("no folder")
    assert "can't be written (" in desk.refused("cxr")


def test_another_package_in_its_folder_is_left_alone(desk: Desk) -> None:
    other = tiny_package(desk.folder / "models" / "cxr" / "1.fp16", name="cxr", version="other")
    result = desk.say("fp16", "cxr", "--anyway")
    assert isinstance(result.exception, PackageRefusedError)
    assert load_package(other.folder).ref == other.ref
    assert len(desk.known()) == 1
