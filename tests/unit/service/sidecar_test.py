"""Which peer an Orthanc is, what doctor says of the two, and that a hint ends the wait."""

import threading
import time
from pathlib import Path

import pytest

from orthanc_al.errors import ConfigurationError
from orthanc_al.ledger import Ledger, watched
from orthanc_al.service import sidecar
from orthanc_al.service.roles import active, watcher
from orthanc_al.settings import Settings, load

PEER = '[[dicom.peers]]\nname = "{}"\nae_title = "{}"\nhost = "127.0.0.1"\nport = {}\nroles = ["results"]\n'


def _settings(folder: Path, text: str) -> Settings:
    path = folder / "al.toml"
    path.write_text(text)
    return load(path)


@pytest.mark.parametrize(
    ("peers", "named", "expected"),
    [
        ([("pacs", "PACS"), ("here", "ORTHANC")], "", "here"),
        ([("pacs", "PACS")], "", "orthanc"),
        ([("one", "ORTHANC"), ("two", "ORTHANC")], "", "orthanc"),
        ([("one", "ORTHANC"), ("two", "ORTHANC")], "two", "two"),
    ],
)
def test_the_peer_is_the_one_that_is_named_or_has_its_ae_title(
    tmp_path: Path, peers: list[tuple[str, str]], named: str, expected: str
) -> None:
    text = f'[orthanc]\nurl = "http://127.0.0.1:9"\nwatch = true\npeer = "{named}"\n'
    text += "".join(PEER.format(name, title, 4000 + n) for n, (name, title) in enumerate(peers))
    assert sidecar.peer_name(_settings(tmp_path, text), "ORTHANC") == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[orthanc]\nwatch = true\n", "watch needs the url"),
        ('[orthanc]\nurl = "http://127.0.0.1:9"\npeer = "nobody"\n', "no peer is named 'nobody'"),
        ('[orthanc]\nurl = "http://127.0.0.1:9"\nwatch_days = -1\n', "orthanc.watch_days"),
    ],
)
def test_a_configuration_that_can_not_be_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        _settings(tmp_path, text)


def test_the_watcher_is_run_where_it_is_asked_for(tmp_path: Path) -> None:
    assert "watcher" not in active(_settings(tmp_path, ""))
    text = '[orthanc]\nurl = "http://127.0.0.1:9"\nwatch = true\n'
    assert "watcher" in active(_settings(tmp_path, text))


def test_doctor_tells_that_orthanc_is_away_and_is_content_without_one(tmp_path: Path) -> None:
    assert not any(one.is_problem for one in sidecar.examine(_settings(tmp_path, "")))
    [found] = sidecar.examine(_settings(tmp_path, '[orthanc]\nurl = "http://127.0.0.1:9"\n'))
    assert found.is_problem
    assert "does not answer" in found.text


def test_a_watcher_without_an_orthanc_says_so_and_ends_when_told(tmp_path: Path, ledger: Ledger) -> None:
    settings = _settings(tmp_path, '[orthanc]\nurl = "http://127.0.0.1:9"\nwatch = true\n')
    stop, detail = threading.Event(), {"state": "starting"}
    thread = threading.Thread(target=watcher.run, args=(settings, ledger, stop, detail))
    thread.start()
    until = time.monotonic() + 20
    while detail["state"] == "starting" and time.monotonic() < until:
        time.sleep(0.02)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert detail["state"].startswith("takes nothing from Orthanc")


def test_a_hint_ends_the_wait(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "_LOOK_SECONDS", 600.0)
    thread = threading.Thread(target=watcher._wait, args=(ledger, threading.Event()))
    thread.start()
    while thread.is_alive():
        with ledger.write() as connection:
            watched.give_hint(connection)
        thread.join(0.5)
