"""docs/operations.md: metrics, paths and errors are those of the program."""

import inspect
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orthanc_al import errors
from orthanc_al.ledger import Ledger, destinations, enqueue
from orthanc_al.pipeline import Step
from orthanc_al.web import create_app
from orthanc_al.web.auth import OPEN_PATH
from tests.support.asgi import ask
from tests.support.worklist_ledger import NOW, fill, keep_alive

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
TWO_DAYS_LATER = NOW + 2 * 86400  # draws are counted once their day is over
ERRORS = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.OrthancAlError) and kind is not errors.OrthancAlError
}


def _section(title: str) -> str:
    return PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_the_metrics_and_their_labels_are_those_exposed(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, 40)
    keep_alive(ledger)
    with ledger.write() as connection:
        enqueue(connection, Step.RETRAIN, "cxr-pneumonia", NOW)
        destinations.in_trouble(connection, "pacs", "no_answer", "silent", NOW, 1)
    text = ask(create_app(ledger, spool=tmp_path, clock=lambda: TWO_DAYS_LATER), "/metrics").text
    exposed = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        exposed[name] = {label for sample in family.samples for label in sample.labels}
        assert family.samples, f"{name} has no sample: this test can't see its labels"
    rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\| .+ \|$", _section("Metrics"), re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == exposed


def test_the_paths_are_those_that_are_served(ledger: Ledger, tmp_path: Path) -> None:
    app = create_app(ledger, spool=tmp_path)
    served = {OPEN_PATH, "/readyz", "/metrics", app.openapi_url, *app.openapi()["paths"]}
    rows = re.findall(r"^\| (`/.*?) \|", _section("HTTP"), re.MULTILINE)
    assert {path for row in rows for path in re.findall(r"`([^`]+)`", row)} == served


def test_the_errors_and_whether_they_are_tried_again() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (yes|no) \|$", _section("Errors"), re.MULTILINE)
    assert dict(rows) == {name: "yes" if kind.retryable else "no" for name, kind in ERRORS.items()}


def test_the_drawing_on_top_of_the_errors_is_their_tree() -> None:
    lines = re.findall(r"^ {4}([│├└─ ]*)(\w+Error)\b(.*)$", errors.__doc__ or "", re.MULTILINE)
    depths: list[str] = []
    drawn = {}
    for marks, name, rest in lines:
        depth = len(marks) // 4
        depths[depth:] = [name]
        if depth:
            drawn[name] = (depths[depth - 1], "(retry)" in rest)
    assert drawn == {name: (kind.__bases__[0].__name__, kind.retryable) for name, kind in ERRORS.items()}


@pytest.mark.parametrize("kind", ERRORS.values())
def test_every_error_says_what_it_is(kind: type[errors.OrthancAlError]) -> None:
    assert kind.__doc__
