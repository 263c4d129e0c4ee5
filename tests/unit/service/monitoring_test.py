"""The commands `monitor` and `simulate`, and the learner's process, as a site runs them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orthanc_al.cli import common
from orthanc_al.cli.app import app
from orthanc_al.ledger import Ledger, enqueue, monitoring
from orthanc_al.observe import now
from orthanc_al.pipeline import Step
from orthanc_al.service import running
from orthanc_al.settings import Settings, load
from tests.support.tiny_package import tiny_package


@pytest.fixture(autouse=True)
def _logs_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets logging up on the runner's standard error, which is closed behind it."""
    monkeypatch.setattr(common, "configure_logging", lambda *_, **__: None)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    tiny_package(tmp_path / "package")
    path = tmp_path / "al.toml"
    path.write_text(
        '[storage]\nledger = "sqlite:///site.sqlite"\nspool = "spool"\n[[models]]\npackage = "package"\n'
    )
    running.prepare(load(path))
    return path


def _ledger(settings: Settings) -> Ledger:
    return Ledger.open(settings.storage.ledger)


def test_the_learner_does_the_monitor_s_work(config: Path) -> None:
    settings = load(config)
    ledger = _ledger(settings)
    with ledger.write() as connection:
        enqueue(connection, Step.MONITOR, "tiny", now())
    running.learn_now(settings, ledger)
    with ledger.read() as connection:
        measures = {one.point.measure for one in monitoring.latest(connection)}
    ledger.close()
    assert measures == {"drawn_audits", "drawn_queries", "signed", "audit_unread", "guarantee"}


def test_the_command_monitor_says_it_in_words_and_as_json(config: Path) -> None:
    said = CliRunner().invoke(app, ["--config", str(config), "monitor"])
    assert said.exit_code == 0
    assert "Nothing is ranked low" in said.output
    said = CliRunner().invoke(app, ["--config", str(config), "monitor", "--json"])
    assert {row["model_name"] for row in json.loads(said.output)} == {"tiny"}


def test_the_command_simulate_answers_without_a_ledger(tmp_path: Path) -> None:
    room = ["--per-day", "100", "--reading-minutes", "10", "--readers", "1", "--days", "3", "--runs", "2"]
    config = tmp_path / "al.toml"
    config.write_text("")
    command = ["--config", str(config), "simulate", "--finding", "pneumonia=0.1,0.9,0.9", *room]
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 0
    assert "others" in said.output
    said = CliRunner().invoke(app, [*command, "--rule", "preemptive", "--json"])
    answer = json.loads(said.output)
    assert answer["closed_form_saved"]["pneumonia"] > 0
    assert [line["who"] for line in answer["groups"]] == ["pneumonia", "others", "all"]
