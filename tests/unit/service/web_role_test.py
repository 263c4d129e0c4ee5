"""The page as the service builds it from a configuration: users, viewers and what reads may be about."""

import base64
import json
import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from orthanc_al.errors import ConfigurationError
from orthanc_al.ledger import Ledger, models, schema
from orthanc_al.service.roles import web
from orthanc_al.settings import load
from tests.support.asgi import ask
from tests.support.tiny_package import tiny_package
from tests.support.worklist_ledger import NOW, Case, add

CONFIGURATION = """
[storage]
spool = "spool"
[web]
host = "0.0.0.0"
viewers = { Orthanc = "http://pacs/app/explorer.html#study?uuid={orthanc_id}" }
viewer_origins = ["http://pacs:3000"]
[site]
name = "Example Hospital"
"""
USERS = {
    "brandt": {"password": "s3cret", "name": "Brandt^Karin"},
    "orthanc": {"password": "k", "program": True},
}


def _written(folder: Path, users: object, configuration: str = CONFIGURATION) -> tuple[Path, Path]:
    (folder / "secrets").mkdir()
    (folder / "secrets" / "web__users").write_text(json.dumps(users))
    (folder / "site.toml").write_text(configuration)
    return folder / "site.toml", folder / "secrets"


def test_a_reader_of_the_secrets_folder_signs_what_the_models_look_for(
    ledger: Ledger, tmp_path: Path
) -> None:
    settings = load(*_written(tmp_path, USERS))
    package = tiny_package(tmp_path / "package")
    with ledger.write() as connection:
        models.install(connection, package.ref, package.folder)
        add(connection, Case("2.25.1", probability=0.9), orthanc_id="abc")
    app = web.build(settings, ledger, threading.Event())
    me = {
        "authorization": "Basic " + base64.b64encode(b"brandt:s3cret").decode(),
        "origin": "http://worklist.example",
    }
    page = ask(app, "/", headers=me, host="worklist.example").text
    assert "http://pacs/app/explorer.html#study?uuid=abc" in page
    answer = ask(
        app,
        "/api/v1/studies/2.25.1/reads",
        method="POST",
        host="worklist.example",
        headers=me,
        json={"value": "present", "revision": 1},
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["finding"] == "pneumonia"
    with ledger.read() as connection:
        read = connection.execute(select(schema.reads)).one()
    assert (read.reader, read.identified_by) == ("Brandt^Karin", "user")
    assert read.received_at > NOW - 86400 * 3650


@pytest.mark.parametrize(
    ("users", "more", "words"),
    [
        ({"x": {"password": "", "name": "A^B"}}, "", "the password is empty"),
        ({"x": {"password": "p"}}, "", "not both"),
        ({"x": {"password": "p", "name": "A^B", "program": True}}, "", "not both"),
        (USERS, 'password = "q"', "keep one of them"),
        (USERS, 'viewer = "javascript:alert(1)"', "a link that begins with"),
        ({}, "", "which others can reach"),
    ],
)
def test_faults_of_users_and_links_are_told(tmp_path: Path, users: object, more: str, words: str) -> None:
    changed = CONFIGURATION.replace("[web]\n", f"[web]\n{more}\n")
    with pytest.raises(ConfigurationError, match=words):
        load(*_written(tmp_path, users, changed))
