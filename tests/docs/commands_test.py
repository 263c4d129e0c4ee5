"""docs/operations.md names every command and every process, and no other command."""

import re
from pathlib import Path

import typer.main

from orthanc_al.cli.app import app
from orthanc_al.service.roles import ROLES

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def _commands() -> set[str]:
    found = set()
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        found |= {f"{name} {one}" for one in below} if below else {name}
    return found


def test_every_command_is_documented_and_exists() -> None:
    table = PAGE.split("## Commands")[1].split("\n## ")[0]
    named = set()
    for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE):
        for words in re.findall(r"`([^`]*)`", cell):
            named.add(" ".join(word for word in words.split() if re.fullmatch(r"[a-z][a-z0-9-]*", word)))
    assert named == _commands()


def test_every_process_is_documented() -> None:
    table = PAGE.split("## Processes")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| (\w+) \|", table, re.MULTILINE)) - {"role"} == set(ROLES)
