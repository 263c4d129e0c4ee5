"""The plugin's parts outside of Orthanc: the outbox in its file, the courier, and who reads."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from orthanc_al.orthanc.plugin import orthanc_al_plugin as plugin
from orthanc_al.orthanc.plugin.orthanc_al_plugin import AwayError, Outbox, RefusedError, Service, Settings


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "folder" / "outbox.sqlite")


def test_clicks_leave_in_their_order_and_survive_in_the_file(outbox: Outbox, tmp_path: Path) -> None:
    one, two = outbox.put({"study": "1.2"}), outbox.put({"study": "1.3"})
    again = Outbox(tmp_path / "folder" / "outbox.sqlite")
    assert again.waiting() == 2
    assert again.first() == (one, {"study": "1.2"})
    again.remove(one)
    assert again.first() == (two, {"study": "1.3"})
    assert (again.fate(one), again.fate(two)) == ("", None)


def test_a_refused_click_keeps_its_reason_and_only_the_latest_are_kept(outbox: Outbox) -> None:
    for number in range(60):
        outbox.remove(outbox.put({"study": str(number)}), f"reason {number}")
    assert outbox.refused()[0] == {"study": "59", "why": "reason 59"}
    assert outbox.fate(60) == "reason 59"
    assert len(outbox._do("SELECT id FROM refused")) <= 51
    assert outbox.first() is None


class _Answers(BaseHTTPRequestHandler):
    status, body = 200, "{}"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body.encode())

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Service(
            Settings(f"http://127.0.0.1:{server.server_port}", "o", "secret", tmp_path / "o.sqlite")
        )
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "error", "text"),
    [
        (401, "", AwayError, "password"),
        (503, '{"detail": "later"}', AwayError, "later"),
        (429, "no json", AwayError, "no reason given"),
        (409, '{"detail": "images came"}', RefusedError, "images came"),
        (422, '{"detail": [{"loc": ["body"]}]}', RefusedError, "not as it takes"),
        (200, "no json", AwayError, "does not answer"),
    ],
)
def test_what_the_service_answers_is_final_or_may_change(
    service: Service, monkeypatch: pytest.MonkeyPatch, status: int, body: str, error: type, text: str
) -> None:
    monkeypatch.setattr(_Answers, "status", status)
    monkeypatch.setattr(_Answers, "body", body)
    with pytest.raises(error, match=text) as raised:
        service.ask("/api/v1/me")
    assert "secret" not in str(raised.value)


def test_a_service_that_is_away_is_told(tmp_path: Path) -> None:
    with pytest.raises(AwayError, match="does not answer"):
        Service(Settings("http://127.0.0.1:9", "o", "", tmp_path / "o.sqlite")).ask("/")


def test_the_settings_are_those_of_orthancs_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    found = Settings.of(
        {
            "StorageDirectory": str(tmp_path),
            "AuthenticationEnabled": True,
            "OrthancAl": {"Url": "http://al:8080/", "PasswordFile": str(tmp_path / "password")},
        }
    )
    assert (found.url, found.secret(), found.authenticated) == ("http://al:8080", "secret", True)
    (tmp_path / "password").unlink()
    assert found.secret() == ""
    assert found.outbox == tmp_path / "orthanc-al-outbox.sqlite"


@pytest.mark.parametrize(
    ("configuration", "authenticated"),
    [
        ({}, False),
        ({"RemoteAccessAllowed": True}, True),  # Orthanc then asks for a password by itself
        ({"RemoteAccessAllowed": True, "AuthenticationEnabled": False}, False),
        ({"AuthenticationEnabled": True}, True),
    ],
)
def test_an_orthanc_that_asks_for_passwords_knows_its_readers(
    configuration: dict[str, Any], authenticated: bool
) -> None:
    assert Settings.of(configuration).authenticated is authenticated


class _Orthanc:
    """The module that Orthanc gives to its plugins, as far as the constructor needs it."""

    def __init__(self, folder: Path, *, knows_users: bool) -> None:
        self._configuration = {
            "StorageDirectory": str(folder),
            "AuthenticationEnabled": knows_users,
            "OrthancAl": {"Readers": {"karin": "Brandt^Karin", "room-2": ""}},
        }

    def GetConfiguration(self) -> str:  # noqa: N802 - Orthanc's name
        return json.dumps(self._configuration)

    def LogWarning(self, _: str) -> None:  # noqa: N802 - Orthanc's name
        return


@pytest.mark.parametrize(
    ("knows_users", "authorization", "named", "reader"),
    [
        (False, "", " Brandt, Karin ", "Brandt, Karin"),
        (True, "karin:pw", "Somebody^Else", "Brandt^Karin"),
        (True, "jan:pw", "", "jan"),
        (True, "", "Somebody^Else", ""),
        (True, "room-2:pw", "Brandt, Karin", "Brandt, Karin"),
        (True, "room-2:pw", "", ""),
    ],
)
def test_the_reader_is_orthancs_user_where_it_knows_its_users(
    tmp_path: Path, knows_users: bool, authorization: str, named: str, reader: str
) -> None:
    made = plugin.Plugin(_Orthanc(tmp_path, knows_users=knows_users))
    encoded = base64.b64encode(authorization.encode()).decode()
    headers = {"Authorization": f"Basic {encoded}"} if authorization else {}
    assert made._reader({"headers": headers}, named) == reader


class _Told(Service):
    """The service, as far as the courier asks it: a study with an image of a certain time."""

    def __init__(self, received_at: str) -> None:
        self.received_at = received_at
        self.reads: list[Any] = []

    def ask(self, path: str, body: Any = None) -> Any:
        if body is not None:
            self.reads.append((path, body))
            return {}
        image = {"kind": "image", "received_at": self.received_at}
        report = {"kind": "own", "received_at": "2030-01-01T00:00:00+00:00"}
        return {"study": {"revision": 3}, "instances": [image, report]}


@pytest.mark.parametrize(("received", "taken"), [("23:59:59", True), ("00:00:01", False)])
def test_a_click_that_waited_is_not_signed_on_images_that_came_after_it(
    outbox: Outbox, received: str, taken: bool
) -> None:
    day = "2023-12-31" if taken else "2024-01-01"
    service = _Told(f"{day}T{received}+00:00")
    courier = plugin.Courier(service, outbox, lambda _: None)
    number = outbox.put({"study": "1.2", "action": "confirm", "reader": "A^B", "at": 1704067200.0})
    courier._hint = False
    courier._deliver_all()
    fate = outbox.fate(number) or ""
    assert fate == "" if taken else "look at the study again" in fate
    assert [body["revision"] for _, body in service.reads] == ([3] if taken else [])
