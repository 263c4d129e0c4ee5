"""Commands about learning, as a person types them: what they do, and what they say when they can't."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from orthanc_al.cli import common
from orthanc_al.cli.app import app
from orthanc_al.domain import Grouping, patient_key
from orthanc_al.errors import ConfigurationError, ModelError, PackageRefusedError
from orthanc_al.inference.thresholds import Groups, GroupThresholds
from orthanc_al.learn.lock import alone
from orthanc_al.ledger import Ledger, facts, models, shadow, waiting
from orthanc_al.ledger.schema import change_records, datasets
from orthanc_al.ledger.shadow import ShadowScore
from tests.support.learning_ledger import put_prediction, put_read, put_study
from tests.support.radiographs import wrap
from tests.support.tiny_package import tiny_package


class Desk:
    """A configuration with a ledger, and somebody who types."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.champion = tiny_package(folder / "champion", name="cxr")
        (folder / "plan.toml").write_text("[shadow]\nmin_studies = 1\nmin_hours = 0.0\n")
        self.config = folder / "orthanc-al.toml"
        self.config.write_text(
            '[learn]\npccp = "plan.toml"\n[[models]]\npackage = "champion"\n'
            '[storage]\nledger = "sqlite:///ledger.sqlite"\ntraining_cache = "cache"\nmodels = "models"\n'
        )
        self.ledger = Ledger.create(f"sqlite:///{folder}/ledger.sqlite")
        with self.ledger.write() as connection:
            models.install(connection, self.champion.ref, self.champion.folder)

    def type(self, *words: str) -> Result:
        return CliRunner().invoke(app, ["--config", str(self.config), *words])

    def candidate(self) -> models.RegisteredModel:
        made = tiny_package(self.folder / "candidate", name="cxr", version="2", seed=1)
        with self.ledger.write() as connection:
            parent = self.champion.ref.digest
            models.add(
                connection, made.ref, made.folder, parent=parent, origin="retrained", state="candidate"
            )
            return models.get(connection, made.ref.digest)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    # Logs would go to the runner's stream, which is closed when the next test logs.
    monkeypatch.setattr(common, "configure_logging", lambda *_, **__: None)
    return Desk(tmp_path)


def test_a_backup_has_the_training_cache_where_it_is_asked_for(desk: Desk) -> None:
    (desk.folder / "cache").mkdir()
    (desk.folder / "cache" / "a.npy").write_bytes(b"input")
    (desk.folder / "cache" / "b.part").write_bytes(b"half an inp")
    assert desk.type("backup", str(desk.folder / "one")).exit_code == 0
    assert not (desk.folder / "one" / "training").exists()
    assert desk.type("backup", str(desk.folder / "two"), "--cache").exit_code == 0
    assert [path.name for path in (desk.folder / "two" / "training").iterdir()] == ["a.npy"]


def test_two_ids_of_one_person_are_merged(desk: Desk) -> None:
    with desk.ledger.write() as connection:
        salt = facts.patient_salt(connection)
        put_study(connection, "1.1", patient=patient_key(salt, "OLD", "HERE"))
    said = desk.type("merge-patients", "OLD", "NEW", "--gone-issuer", "HERE", "--by", "Ada")
    assert said.exit_code == 0
    assert "1 study(ies) changed hands; the patient's split: none yet." in said.output


def test_a_candidate_may_be_promoted_after_its_time_in_shadow_and_the_reason_says_what_it_did(
    desk: Desk,
) -> None:
    candidate = desk.candidate()
    words = ("models", "promote", "cxr", "2", "--reason", "it is better", "--by", "Ada")
    early = desk.type(*words)
    assert early.exit_code == 1
    assert isinstance(early.exception, ModelError)
    assert "0 of 1 studies in shadow" in str(early.exception)
    with desk.ledger.write() as connection:
        score = ShadowScore("1.1", candidate.ref.digest, desk.champion.ref.digest, "pneumonia", 1.0)
        shadow.put(connection, [score])
    assert desk.type(*words).exit_code == 0
    with desk.ledger.read() as connection:
        (last, *_) = models.history(connection, "cxr")
    assert last.reason.startswith("it is better (1 study in shadow, pneumonia 100.0%")
    assert (last.approver, last.digest) == ("Ada", candidate.ref.digest)
    assert "beside the champion: 1 study" in " ".join(desk.type("models", "show", "cxr", "2").output.split())


def test_a_record_that_is_not_there_is_told(desk: Desk) -> None:
    assert "No change record of cxr" in desk.type("models", "show", "cxr", "--record").output


def test_fine_tuning_that_the_plan_forbids_is_refused_with_the_key(desk: Desk) -> None:
    (desk.folder / "plan.toml").write_text('[change]\nmay = ["head"]\n')
    said = desk.type("retrain", "--finetune")
    assert isinstance(said.exception, ConfigurationError)
    assert "change.may" in str(said.exception)


def test_a_folder_that_holds_another_package_than_was_judged_does_not_go_live(desk: Desk) -> None:
    made = desk.candidate()
    with desk.ledger.write() as connection:
        models.promote(connection, made.ref.digest, "Ada", "better")
    other = tiny_package(desk.folder / "other", name="cxr", version="3", seed=2)
    shutil.rmtree(desk.champion.folder)
    other.folder.rename(desk.champion.folder)
    for words in (
        ("models", "promote", "cxr", desk.champion.ref.version, "--reason", "go back"),
        ("models", "rollback", "cxr", "--reason", "go back"),
    ):
        said = desk.type(*words)
        assert isinstance(said.exception, PackageRefusedError)
        assert "and the ledger says" in str(said.exception)
    with desk.ledger.read() as connection:
        assert models.champion(connection, "cxr").ref == made.ref  # type: ignore[union-attr]


@pytest.mark.parametrize(("station", "tier"), [("ROOM 1", "low"), ("ROOM 2", "review"), ("", "review")])
def test_files_are_ranked_by_the_borders_of_their_group(desk: Desk, station: str, tier: str) -> None:
    """Where the guarantee shall hold in each room, one without audits of its own has no low tier."""
    room = GroupThresholds(name="ROOM 1", low=1.0, positives=40, negatives=200)
    groups = Groups(by=Grouping.STATION, borders=(room,))
    tiny_package(desk.folder / "grouped", name="cxr", version="9", low=1.0, high=None, groups=groups)
    desk.config.write_text(desk.config.read_text() + '[triage]\ngroups = "station"\n')
    film = wrap(np.random.default_rng(0).integers(0, 255, (64, 48), np.uint8), 1)
    film.StationName = station
    film.save_as(desk.folder / "1.dcm", enforce_file_format=True)
    said = desk.type("score", str(desk.folder / "1.dcm"), "--package", str(desk.folder / "grouped"), "--json")
    assert said.exit_code == 0, said.output
    assert [row["tier"] for row in json.loads(said.stdout)] == [tier]


def champion_of(desk: Desk) -> str:
    with desk.ledger.read() as connection:
        return models.champion(connection, "cxr").ref.digest  # type: ignore[union-attr]


def test_a_retraining_that_fails_here_is_told_and_what_is_live_stays(desk: Desk) -> None:
    with alone(desk.folder / "models", "cxr"):
        said = desk.type("retrain", "--here")
    assert said.exit_code == 1
    assert isinstance(said.exception, ModelError)
    assert "Another process is learning for cxr" in str(said.exception)
    assert "what was live is live still" in str(said.exception)
    assert champion_of(desk) == desk.champion.ref.digest
    said = desk.type("retrain", "--here")  # asked again, it is done at once and not after a wait
    assert "Retraining of cxr is done" in " ".join(said.output.split())


def test_a_data_set_that_was_changed_is_told_by_the_command(desk: Desk) -> None:
    with desk.ledger.write() as connection:
        for number in range(4):
            uid = f"1.2.{number}"
            put_study(connection, uid)
            put_prediction(connection, uid, 0.0, embedding=np.ones(4) * number, model=desk.champion.ref)
            put_read(connection, uid, present=True)
    assert desk.type("retrain", "--here").exit_code == 0
    with desk.ledger.write() as connection:
        connection.execute(change_records.delete())
        connection.execute(datasets.update().values(content={}))
    said = desk.type("retrain", "--here")
    assert isinstance(said.exception, ModelError)
    assert "is not what was learned from" in str(said.exception)
    assert "backup" in str(said.exception)
    assert champion_of(desk) == desk.champion.ref.digest


def test_a_model_that_is_not_live_is_put_on_no_queue(desk: Desk) -> None:
    for words in (("retrain", "nothere"), ("monitor", "nothere")):
        said = desk.type(*words)
        assert isinstance(said.exception, ModelError)
        assert "No package of nothere is live" in str(said.exception)
    with desk.ledger.read() as connection:
        assert waiting.counts(connection) == {}
    desk.config.write_text(desk.config.read_text().replace('[[models]]\npackage = "champion"\n', ""))
    assert isinstance(desk.type("retrain").exception, ConfigurationError)


@pytest.mark.parametrize(
    "words",
    [
        ("config", "check"),
        ("retrain",),
        ("retrain", "--here"),
        ("monitor",),
        ("models", "promote", "cxr", "2", "--reason", "x"),
    ],
)
def test_all_faults_of_the_plan_are_told_at_once_before_anything_is_done(
    desk: Desk, words: tuple[str, ...]
) -> None:
    (desk.folder / "plan.toml").write_text(
        '[gate]\nparity = -1\ncolour = "red"\n[shadow]\nmin_studies = "many"\n[nothing]\na = 1\n'
    )
    said = desk.type(*words)
    assert isinstance(said.exception, ConfigurationError)
    for key in ("gate.parity", "gate.colour", "shadow.min_studies", "nothing"):
        assert f"  {key}: " in str(said.exception)
    with desk.ledger.read() as connection:
        assert waiting.counts(connection) == {}


def test_a_candidate_that_was_damaged_or_is_gone_does_not_go_live(desk: Desk) -> None:
    made = desk.candidate()
    (desk.folder / "plan.toml").write_text("[shadow]\nmin_studies = 0\nmin_hours = 0.0\n")
    network = made.folder / "model.onnx"
    network.write_bytes(network.read_bytes() + b"x")
    words = ("models", "promote", "cxr", "2", "--reason", "it is better")
    assert "model.onnx is not the file that the manifest describes" in str(desk.type(*words).exception)
    shutil.rmtree(made.folder)
    assert "has no manifest.toml" in str(desk.type(*words).exception)
    with desk.ledger.read() as connection:
        assert models.get(connection, made.ref.digest).state == "candidate"
    assert champion_of(desk) == desk.champion.ref.digest


def test_what_goes_live_has_a_reason(desk: Desk) -> None:
    made = desk.candidate()
    for words in (("models", "promote", "cxr", "2"), ("models", "rollback", "cxr")):
        said = desk.type(*words, "--reason", "  ")
        assert isinstance(said.exception, ModelError)
        assert "Give a reason" in str(said.exception)
    with desk.ledger.read() as connection:
        assert models.get(connection, made.ref.digest).state == "candidate"


def test_a_person_is_not_merged_with_herself(desk: Desk) -> None:
    assert "Both are the same patient ID" in str(desk.type("merge-patients", "A", "A").exception)


def test_studies_without_a_patient_id_are_nobody_s(desk: Desk) -> None:
    """They would all be forgotten, or merged, as one person."""
    for words in (("forget", " ", "--yes"), ("merge-patients", "", "B"), ("merge-patients", "A", "")):
        said = desk.type(*words)
        assert isinstance(said.exception, ConfigurationError)
        assert "studies without one are not known to be of one person" in str(said.exception)


@pytest.mark.parametrize("damage", ["'{}'", "'no JSON'", "'[1]'", """'{"cases": 1}'"""])
def test_a_damaged_data_set_keeps_nobody_from_being_forgotten_and_is_told_at_night(
    desk: Desk, damage: str
) -> None:
    with desk.ledger.write() as connection:
        put_study(connection, "1.1", patient=patient_key(facts.patient_salt(connection), "A"))
        put_prediction(connection, "1.1", 0.0, embedding=np.ones(4), model=desk.champion.ref)
        put_read(connection, "1.1", present=True)
    assert desk.type("retrain", "--here").exit_code == 0
    with desk.ledger.write() as connection:
        connection.execute(change_records.delete())
        connection.execute(text(f"UPDATE datasets SET content = {damage}"))
    assert "is not what was learned from" in str(desk.type("retrain", "--here").exception)
    assert "1 study(ies)" in desk.type("forget", "A", "--yes").output
    with desk.ledger.read() as connection:
        assert connection.execute(text("SELECT content FROM datasets")).scalars().all() == ["{}"]


def test_who_is_not_known_is_said_to_be_so(desk: Desk) -> None:
    assert "Nothing was known of them." in desk.type("forget", "NOBODY", "--yes").output


def test_rows_that_can_t_be_taken_are_told_and_the_others_are(desk: Desk) -> None:
    with desk.ledger.write() as connection:
        put_study(connection, "1.2.1")
        put_prediction(connection, "1.2.1", 0.0, model=desk.champion.ref)
    rows = [
        "study_instance_uid,finding,value,reader,time",
        "9.9.9,pneumonia,present,ada,2026-11-01T10:00:00+00:00",
        "1.2.1,pneumonia,maybe,ada,2026-11-01T10:00:00+00:00",
        "1.2.1,pneumonia,present,ada,2026-11-01T10:00:00+00:00",
        "1.2.1,pneumonia,absent,bob,2026-11-01T10:00:00+00:00",
    ]
    (desk.folder / "reads.csv").write_text("\n".join(rows))
    said = desk.type("reads", "import", str(desk.folder / "reads.csv"))
    assert said.exit_code == 1
    told = " ".join(said.output.split())
    assert "line 2: study 9.9.9 is not known" in told
    assert "line 3: value 'maybe' is none of present, absent, undetermined" in told
    assert "2 read(s) taken, 0 known already, 2 left out." in told
    (desk.folder / "reads.csv").write_text("")
    assert "has no header line" in str(desk.type("reads", "import", str(desk.folder / "reads.csv")).exception)
