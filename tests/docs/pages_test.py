"""Between all pages: links resolve, files that are named are there, commands that are shown exist."""

import re
import tomllib
from pathlib import Path

import pytest
import typer.main

from orthanc_al.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
PATH = re.compile(r"`((?:config|docker|docs|models|orthanc_al|tests)/[\w./-]+)`")


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _commands() -> dict[str, set[str]]:
    group = typer.main.get_command(app)
    return {
        name: set(getattr(command, "commands", {}))
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        place = (page.parent / file).resolve() if file else page
        assert place.exists(), target
        assert not anchor or anchor in _anchors(place), target


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_files_that_are_named_are_there(page: Path) -> None:
    for path in PATH.findall(page.read_text()):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands_that_are_shown_exist(page: Path) -> None:
    known = _commands()
    shown = re.findall(r"orthanc-al(?: --config \S+)? ([a-z][a-z0-9-]*)(?: ([a-z][a-z0-9-]*))?", _code(page))
    for command, below in shown:
        assert command in known, command
        if known[command]:
            assert below in known[command], f"{command} {below}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_make_targets_that_are_shown_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake ([a-z][a-z-]*)", _code(page)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            waiting.append((page.parent / target).resolve())
    assert set(PAGES) <= reached


def test_the_picture_of_the_readme_is_small() -> None:
    assert (ROOT / "docs" / "worklist.png").stat().st_size < 250_000


def _code(page: Path) -> str:
    """Return what stands in code spans and blocks."""
    text = page.read_text()
    return "\n".join([*re.findall(r"```(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)])


def test_the_page_on_testing_names_every_folder_and_every_marker() -> None:
    page = (ROOT / "docs" / "testing.md").read_text()
    folders = {
        path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and not path.name.startswith("_")
    }
    assert set(re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE)) - {"dicom"} == folders
    pytest_options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    markers = {marker.split(":")[0] for marker in pytest_options["markers"]}
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == markers
