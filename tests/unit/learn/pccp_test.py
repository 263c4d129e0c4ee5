"""The plan of changes: the file in config/ is the built-in plan, and faults are told with their keys."""

import tomllib
from pathlib import Path

import pytest

from orthanc_al.errors import ConfigurationError
from orthanc_al.learn.pccp import Plan, load_plan
from tests.conftest import ROOT


def test_the_sample_has_every_key_at_its_built_in_value() -> None:
    written = tomllib.loads((ROOT / "config" / "pccp.toml").read_text())
    assert written == Plan().model_dump(mode="json")
    assert load_plan(ROOT / "config" / "pccp.toml") == load_plan(None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[gate]\nconfidence = 2.0\n", "gate.confidence"),
        ("[gate]\nspeed = 1\n", "gate.speed"),
        ("[change]\nmay = ['backbone']\n", "change.may"),
        ("[labels]\nmin_prevalence = 0.9\nmax_prevalence = 0.1\n", "min_prevalence is below"),
        ("not toml", "no TOML"),
    ],
)
def test_faults_are_told_with_their_keys(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=told):
        load_plan(path)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text("[gate]\nconfidence = 2.0\n[audit]\nmax_unread_share = 3\n")
    with pytest.raises(ConfigurationError, match=r"(?s)gate\.confidence.*audit\.max_unread_share"):
        load_plan(path)


def test_a_plan_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no plan of changes"):
        load_plan(tmp_path / "absent.toml")
