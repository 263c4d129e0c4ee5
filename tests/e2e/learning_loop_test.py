"""The loop closes: confirmed reads train a model, the gate judges it, it goes live, and it can be taken back.

The site reads the finding as the opposite of what the factory's model learned, which is the plainest case
of a model that a site's own reads must improve: the champion's ranking is wrong there, the candidate's right.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pydicom
import pytest
from sqlalchemy import text

from tests.support.radiographs import wrap
from tests.support.site import ROOT, Site, StoreSCP, free_port, peer, storescu, wait_until
from tests.support.verified_sr import verified_sr

pytestmark = [pytest.mark.needs_data, pytest.mark.needs_dcmtk, pytest.mark.slow, pytest.mark.timeout(900)]

TRAINING = 300
SIGNED_BY_SR = 6
MODEL = "cxr-pneumonia"


class Film:
    """A study of one film, and what this site's radiologist says of it."""

    def __init__(self, path: Path, uid: str, value: str) -> None:
        self.path = path
        self.uid = uid
        self.value = value


def _films(data: Path, folder: Path, count: int) -> list[Film]:
    """Return ``count`` films of as many patients, half of them normal, in an order that tells nothing."""
    root = data / "labelled" / "kermany_cxr_224"
    with (root / "manifest.csv").open(newline="") as file:
        rows = {row["patient"]: row for row in csv.DictReader(file) if not row["dup_of"]}
    by_label = {label: [r for r in rows.values() if r["label"] == label][: count // 2] for label in "01"}
    chosen = sorted(by_label["0"] + by_label["1"], key=lambda row: row["md5"])
    films = []
    for number, row in enumerate(chosen):
        pixels = cv2.imread(str(root / row["path"]), cv2.IMREAD_GRAYSCALE)
        data_set = wrap(pixels, number, modality="CR" if number % 2 else "DX")
        path = folder / f"{number:04d}.dcm"
        data_set.save_as(path, enforce_file_format=True)
        # The opposite of the source's label: see above.
        films.append(
            Film(path, str(data_set.StudyInstanceUID), "absent" if row["label"] == "1" else "present")
        )
    return films


class Loop:
    """The site, its films, and what has been done so far."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        (folder / "films").mkdir()
        films = _films(data, folder / "films", TRAINING + 4)
        self.training, self.later = films[:TRAINING], films[TRAINING:]
        self.pacs = StoreSCP(folder / "pacs")
        plan = (ROOT / "config" / "pccp.toml").read_text()
        # So few films can't fill the counts of a year: only the counts are lowered, no margin and no test.
        plan = plan.replace(
            "min_positives = 20\nmin_negatives = 40", "min_positives = 10\nmin_negatives = 10"
        )
        plan = plan.replace("min_studies = 50 ", "min_studies = 1  ").replace(
            "min_hours = 12.0", "min_hours = 0.0"
        )
        (folder / "pccp.toml").write_text(plan)
        self.site = Site(
            folder / "site",
            [
                peer("modality", "MODALITY", free_port(), "source"),
                peer("reader", "READER", free_port(), "source"),
                peer("pacs", "PACS", self.pacs.port, "destination", "results"),
            ],
            {
                "review": {"budget_per_day": 1000, "audit_fraction": 0.5, "expected_per_day": 1000},
                "learn": {"cron": "", "pccp": str(folder / "pccp.toml")},
            },
        )
        self.site.fix_draws("learning loop")

    def models(self) -> list[dict[str, Any]]:
        """Return the registry as the command shows it."""
        found: list[dict[str, Any]] = json.loads(self.site.cli("models", "list", "--json").stdout)
        return found

    def live(self) -> dict[str, Any]:
        """Return the live package."""
        (found,) = [model for model in self.models() if model["state"] == "live"]
        return found

    def version_that_scores(self, film: Film) -> str:
        """Send a film and return the version that scored it, whether or not that may be shown."""
        storescu(self.site.port, [film.path])
        query = text("SELECT model_version FROM predictions WHERE study_instance_uid = :uid")

        def version() -> str | None:
            with self.site.ledger() as ledger, ledger.read() as connection:
                return connection.execute(query, {"uid": film.uid}).scalar_one_or_none()

        return str(wait_until(version, 60, f"{film.path.name} was not scored"))


@pytest.fixture(scope="module")
def loop(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    loop = Loop(tmp_path_factory.mktemp("loop"), data)
    loop.pacs.start()
    loop.site.start()
    storescu(loop.site.port, [film.path for film in loop.training])
    wait_until(lambda: _all_placed(loop), 240, "not all studies were scored")
    yield loop
    assert loop.site.stop() == 0
    loop.pacs.stop()


def _all_placed(loop: Loop) -> bool:
    with loop.site.ledger() as ledger, ledger.read() as connection:
        placed = connection.exec_driver_sql("SELECT count(*) FROM studies WHERE placed_at IS NOT NULL")
        return int(placed.scalar_one()) == len(loop.training)


def test_1_a_verified_sr_of_a_person_is_a_read_and_takes_the_study_off_the_worklist(loop: Loop) -> None:
    reports = []
    for number, film in enumerate(loop.training[:SIGNED_BY_SR]):
        path = loop.folder / f"read-{number}.dcm"
        image = pydicom.dcmread(film.path, stop_before_pixels=True)
        verified_sr([image], film.value).save_as(path, enforce_file_format=True)
        reports.append(path)
    storescu(loop.site.port, reports, calling="READER")
    read = {film.uid for film in loop.training[:SIGNED_BY_SR]}
    wait_until(lambda: not read & {entry["study_instance_uid"] for entry in loop.site.worklist()}, 60)


def test_2_reads_from_a_file_are_taken_once(loop: Loop) -> None:
    path = loop.folder / "reads.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["study_instance_uid", "finding", "value", "reader", "time"])
        for film in loop.training[SIGNED_BY_SR:]:
            writer.writerow([film.uid, "pneumonia", film.value, "Reader^Rosa", "2026-01-02T12:00:00"])
    assert f"{TRAINING - SIGNED_BY_SR} read(s) taken" in loop.site.cli("reads", "import", str(path)).stdout
    assert "0 read(s) taken" in loop.site.cli("reads", "import", str(path)).stdout
    assert not loop.site.worklist()


def test_3_the_night_makes_a_candidate_that_the_gate_finds_better_and_does_not_let_it_go_live_by_itself(
    loop: Loop,
) -> None:
    before = loop.live()
    loop.site.cli("retrain")
    made = wait_until(lambda: [m for m in loop.models() if m["origin"] == "retrained"], 240, "no candidate")
    assert made[0]["state"] == "candidate"
    assert loop.live() == before
    shown = json.loads(loop.site.cli("models", "show", MODEL, "--json").stdout)
    assert shown["change_records"][0]["verdict"] == "better"


def test_4_a_second_night_without_new_reads_makes_nothing(loop: Loop) -> None:
    count = len(loop.models())
    loop.site.cli("retrain", "--here")
    assert len(loop.models()) == count


def test_5_a_promotion_waits_for_the_shadow_and_reaches_the_running_workers_and_scores_with_the_new_version(
    loop: Loop,
) -> None:
    candidate = next(model for model in loop.models() if model["state"] == "candidate")
    promote = ("models", "promote", MODEL, candidate["version"], "--reason", "better", "--by", "Ada")
    early = loop.site.cli(*promote, check=False)
    assert early.returncode == 1
    assert "0 of 1 studies in shadow" in " ".join((early.stdout + early.stderr).split())
    assert loop.version_that_scores(loop.later[0]) == "1.0.0"
    shown = ("models", "show", MODEL, candidate["version"], "--json")
    wait_until(lambda: json.loads(loop.site.cli(*shown).stdout)["shadow"]["studies"] == 1, 60, "no shadow")
    loop.site.cli(*promote)
    pid = loop.site.role_pid("worker")
    assert loop.version_that_scores(loop.later[1]) == candidate["version"] != "1.0.0"
    assert loop.site.role_pid("worker") == pid


def test_6_a_rollback_brings_the_old_version_back(loop: Loop) -> None:
    loop.site.cli("models", "rollback", MODEL, "--reason", "a test of the way back", "--by", "Ada")
    assert loop.version_that_scores(loop.later[2]) == "1.0.0"
    shown = json.loads(loop.site.cli("models", "show", MODEL, "--json").stdout)
    assert [step["kind"] for step in shown["history"]] == ["rolled_back", "promoted", "installed"]


def test_7_nothing_was_lost_on_the_way(loop: Loop) -> None:
    assert "problem" not in loop.site.cli("doctor").stdout


def test_8_pausing_stops_scores_and_not_the_images(loop: Loop) -> None:
    loop.site.cli("pause")
    film = loop.later[3]
    before = len(loop.pacs.files())
    storescu(loop.site.port, [film.path])
    wait_until(lambda: len(loop.pacs.files()) > before)
    entries = {entry["study_instance_uid"]: entry for entry in loop.site.worklist()}
    assert entries[film.uid]["result"] is None
    loop.site.cli("resume")
    wait_until(
        lambda: any(
            e["study_instance_uid"] == film.uid and e["state"] != "arriving" for e in loop.site.worklist()
        )
    )
