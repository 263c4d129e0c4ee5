"""The Makefile can be read, and has what the pages send people to."""

import re
import subprocess

from tests.conftest import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
PAGES = [ROOT / "README.md", ROOT / ".ci" / "run", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_target_can_be_planned() -> None:
    phony = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[0].split()
    planned = subprocess.run(
        ["make", "--dry-run", *phony], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert planned.returncode == 0, planned.stderr


def test_every_target_that_a_page_names_is_there() -> None:
    named = {
        target
        for page in PAGES
        for target in re.findall(r"(?:`|^ {0,4}|\n)make ([a-z][a-z-]+)", page.read_text())
    }
    there = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    assert named - there == set()
    assert {"run", "test", "check", "bench"} <= named
