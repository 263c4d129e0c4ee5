"""docs/architecture.md, docs/decisions.md: rooms, steps, tests and dependencies are those that are there."""

import re
import tomllib
from pathlib import Path

from orthanc_al.pipeline import Step
from orthanc_al.service.roles import ROLES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def _section(title: str) -> str:
    return PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_every_room_is_named_and_there() -> None:
    named = set()
    for cell in re.findall(r"^\| (`.*?) \|", _section("Rooms"), re.MULTILINE):
        named |= set(re.findall(r"`(\w+)`", cell))
    folders = {path.parent.name for path in (ROOT / "orthanc_al").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "orthanc_al").glob("*.py")} - {"__init__"}
    assert named == folders | modules


def test_every_promise_names_tests_that_exist() -> None:
    rows = re.findall(r"^\| \d \| .* \| (.*) \|$", _section("Promises"), re.MULTILINE)
    assert len(rows) == 9
    for row in rows:
        places = re.findall(r"`([^`]+)`", row)
        assert places
        for place in places:
            assert (ROOT / "tests" / place).exists(), place


def test_the_way_of_a_study_names_every_step() -> None:
    way = _section("The way of a study").split("```")[1]
    words = set(re.findall(r"[a-z_]+", re.sub(r"\(.*", "", way)))
    assert words == {step.value for step in Step} | {"receive", "forward"}


def test_every_process_is_named() -> None:
    first_sentence = _section("Processes").split(":")[0]
    assert set(re.findall(r"`(\w+)`", first_sentence)) == set(ROLES)


def test_every_dependency_has_a_reason_and_no_other_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra, names in project["optional-dependencies"].items():
        wanted += names if extra != "dev" else []
    declared = {re.split(r"[\[<>=;]", name)[0].strip() for name in wanted}
    table = (ROOT / "docs" / "decisions.md").read_text().split("## The house")[0]
    cells = re.findall(r"^\| ([a-z].*?) \|", table, re.MULTILINE)
    named = [name.strip() for cell in cells for name in cell.split(",")]
    assert sorted(named) == sorted(declared | {"package"})
