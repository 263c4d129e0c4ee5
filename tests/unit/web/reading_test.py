"""The API of reading: who signs, what is refused, and what comes next."""

import base64
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

from orthanc_al.domain import Code, Finding
from orthanc_al.errors import ReadError
from orthanc_al.ledger import Ledger, schema
from orthanc_al.web import create_app
from orthanc_al.web.context import User
from orthanc_al.web.reader import COOKIE, person_name_of
from tests.support.asgi import ask
from tests.support.worklist_ledger import NOW, fill, keep_alive

OURS = {"origin": "http://127.0.0.1:8080"}
PNEUMONIA = Finding("pneumonia", Code("233604007", "SCT", "Pneumonia"))
EFFUSION = Finding("effusion", Code("60046008", "SCT", "Pleural effusion"))
SAID = {"value": "present", "revision": 1}
Make = Callable[..., FastAPI]


@pytest.fixture
def make(ledger: Ledger, tmp_path: Path) -> Make:
    def build(findings: tuple[Finding, ...] = (PNEUMONIA,), **values: object) -> FastAPI:
        defaults: dict[str, object] = {
            "spool": tmp_path,
            "clock": lambda: NOW,
            "known_findings": lambda _: findings,
            "viewer_template": "http://viewer/{study_instance_uid}",
        }
        return create_app(ledger, **(defaults | values))  # type: ignore[arg-type]

    return build


@pytest.fixture
def app(ledger: Ledger, make: Make) -> FastAPI:
    fill(ledger, 12)
    keep_alive(ledger)
    return make()


def _post(app: FastAPI, path: str, said: object, headers: Mapping[str, str | bytes] = OURS) -> httpx.Response:
    return ask(app, path, method="POST", json=said, headers=headers)


def _named(app: FastAPI, name: str = "Brandt, Karin") -> dict[str, str]:
    answer = _post(app, "/api/v1/me", {"reader": name})
    return OURS | {"cookie": f"{COOKIE}={answer.cookies[COOKIE]}"}


def _basic(user: str, password: str) -> dict[str, str]:
    return OURS | {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def _reads(ledger: Ledger) -> list[tuple[str, str, str]]:
    table = schema.reads
    with ledger.read() as connection:
        return [
            tuple(row)
            for row in connection.execute(select(table.c.reader, table.c.identified_by, table.c.value))
        ]


def test_a_read_is_signed_with_the_name_that_was_asked_for_once(ledger: Ledger, app: FastAPI) -> None:
    headers = _named(app)
    answer = _post(app, "/api/v1/studies/2.25.1/reads", SAID, headers)
    assert answer.status_code == 201
    told = answer.json()
    assert (told["reader"], told["identified_by"], told["state"]) == ("Brandt^Karin", "asked", "counts")
    assert (told["finding"], told["reference"][:5]) == ("pneumonia", "2.25.")
    assert told["next"]["links"] == {"viewer": f"http://viewer/{told['next']['study']['study_instance_uid']}"}
    assert told["next"]["study"]["study_instance_uid"] != "2.25.1"
    assert _reads(ledger) == [("Brandt^Karin", "asked", "present")]
    again = _post(app, "/api/v1/studies/2.25.1/reads", SAID, headers)
    assert (again.status_code, again.json()["new"]) == (200, False)
    assert len(_reads(ledger)) == 1


def test_the_name_outlives_a_restart_and_not_the_shift(app: FastAPI, make: Make) -> None:
    headers = _named(app)
    assert ask(make(), "/api/v1/me", headers=headers).json()["reader"] == "Brandt^Karin"
    later = make(clock=lambda: NOW + 12 * 3600 + 1)
    assert ask(later, "/api/v1/me", headers=headers).json()["reader"] == ""


@pytest.mark.parametrize(
    "cookie", ["", "x", "QnJhbmR0.1790000000.00", "..", "QnJhbmR0.²." + "0" * 64, "a.1.é"]
)
def test_a_forged_name_is_nobodys(ledger: Ledger, app: FastAPI, cookie: str) -> None:
    headers = {**OURS, "cookie": f"{COOKIE}={cookie}".encode("latin-1")}
    answer = _post(app, "/api/v1/studies/2.25.1/reads", SAID, headers)
    assert answer.status_code == 403
    assert "who reads" in answer.json()["detail"]
    assert _reads(ledger) == []


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(app: FastAPI) -> None:
    cookie = _post(app, "/api/v1/me", {"reader": "Karin Brandt"}).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_a_user_signs_with_her_own_name_and_no_other(ledger: Ledger, app: FastAPI, make: Make) -> None:
    users = {"brandt": User("secret", "Brandt^Karin"), "plugin": User("key", program=True)}
    guarded = make(users=users)
    path = "/api/v1/studies/2.25.1/reads"
    assert _post(guarded, path, SAID).status_code == 401
    assert _post(guarded, path, SAID, _basic("brandt", "key")).status_code == 401
    assert _post(guarded, path, SAID, _basic("nobody", "no such user")).status_code == 401
    mine = _basic("brandt", "secret")
    assert _post(guarded, path, SAID | {"reader": "Weiss^Hannah"}, mine).status_code == 403
    assert _post(guarded, "/api/v1/me", {"reader": "Weiss^Hannah"}, mine).status_code == 403
    assert _post(guarded, path, SAID, mine).status_code == 201
    program = _basic("plugin", "key")
    assert _post(guarded, path, SAID, program).status_code == 403
    assert _post(guarded, path, SAID | {"reader": "Weiss^Hannah"}, program).status_code == 201
    assert _reads(ledger) == [
        ("Brandt^Karin", "user", "present"),
        ("Weiss^Hannah", "program", "present"),
    ]


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"value": "present", "revision": 7}, 409, "look at it again"),
        ({"value": "maybe", "revision": 1}, 422, "present"),
        ({"value": "present"}, 422, "revision"),
        ({"value": "present", "revision": 1, "finding": "fracture"}, 422, "No model looks for"),
        ({"value": "present", "revision": 1, "mood": "good"}, 422, "mood"),
        ({"value": "present", "revision": 1, "reader": "unknown^unknown"}, 422, "your name"),
        ({"value": "present", "revision": 1, "comment": "x" * 1001}, 422, "comment"),
    ],
)
def test_what_can_not_be_signed_is_told(
    ledger: Ledger, app: FastAPI, said: dict[str, object], status: int, words: str
) -> None:
    answer = _post(app, "/api/v1/studies/2.25.1/reads", said, _named(app))
    assert (answer.status_code, words in answer.text) == (status, True)
    assert _reads(ledger) == []


def test_an_unknown_study_is_not_found(app: FastAPI) -> None:
    headers = _named(app)
    for path, said in (("reads", SAID), ("done", {"revision": 1}), ("reopen", {})):
        assert _post(app, f"/api/v1/studies/2.25.404/{path}", said, headers).status_code == 404


def test_with_several_findings_one_is_named(app: FastAPI, make: Make) -> None:
    several = make(findings=(PNEUMONIA, EFFUSION))
    headers = _named(several)
    assert _post(several, "/api/v1/studies/2.25.1/reads", SAID, headers).status_code == 422
    told = _post(several, "/api/v1/studies/2.25.1/reads", SAID | {"finding": "effusion"}, headers)
    assert told.status_code == 201


@pytest.mark.parametrize(
    "path", ["me", "studies/2.25.1/reads", "studies/2.25.1/done", "studies/2.25.1/reopen"]
)
@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:3000"])
def test_no_foreign_page_signs(ledger: Ledger, app: FastAPI, path: str, origin: str | None) -> None:
    headers = {key: value for key, value in _named(app).items() if key != "origin"}
    headers |= {"origin": origin} if origin else {}
    said = {"me": {"reader": "Weiss^Hannah"}, "studies/2.25.1/reads": SAID}.get(path, {"revision": 1})
    assert _post(app, f"/api/v1/{path}", said, headers).status_code == 403
    assert _reads(ledger) == []


def test_the_viewers_that_are_named_may_ask_the_api_and_nothing_else(
    ledger: Ledger, app: FastAPI, make: Make
) -> None:
    viewer = "http://127.0.0.1:3000"
    shared = make(viewer_origins=(viewer,))
    asked = ask(
        shared,
        "/api/v1/studies/2.25.1/reads",
        method="OPTIONS",
        headers={
            "origin": viewer,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type",
        },
    )
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == viewer
    assert asked.headers["access-control-allow-credentials"] == "true"
    answer = _post(shared, "/api/v1/studies/2.25.1/reads", SAID, _named(app) | {"origin": viewer})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (201, viewer)
    assert "access-control-allow-origin" not in ask(shared, "/", headers={"origin": viewer}).headers
    assert _post(shared, "/pause", {}, {"origin": viewer}).status_code == 403
    other = ask(shared, "/api/v1/me", headers={"origin": "http://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_done_and_back_again(ledger: Ledger, app: FastAPI) -> None:
    headers = _named(app)
    for _, changed in enumerate((True, False)):
        told = _post(app, "/api/v1/studies/2.25.1/done", {"revision": 1}, headers).json()
        assert told["changed"] is changed
    assert ask(app, "/api/v1/studies/2.25.1").json()["study"]["state"] == "read"
    assert _post(app, "/api/v1/studies/2.25.1/reopen", {}, headers).json()["changed"] is True
    assert ask(app, "/api/v1/studies/2.25.1").json()["study"]["state"] != "read"
    assert _reads(ledger) == []


def test_the_next_study_follows_in_the_order_and_comes_round(app: FastAPI) -> None:
    order = [line["study_instance_uid"] for line in ask(app, "/api/v1/worklist").json()["studies"]]
    for here, there in zip(order, [*order[1:], order[0]], strict=True):
        told = ask(app, f"/api/v1/studies/{here}/next").json()
        assert told["study"]["study_instance_uid"] == there
    only = ask(app, f"/api/v1/studies/{order[0]}/next?modality=CT").json()
    assert only["study"]["modality"] == "CT"


def test_an_empty_worklist_has_no_next(ledger: Ledger, app: FastAPI) -> None:
    with ledger.write() as connection:
        connection.execute(update(schema.studies).values(state="read"))
    assert ask(app, "/api/v1/studies/2.25.1/next").json() is None


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Brandt, Karin", "Brandt^Karin"),
        ("  Karin   Brandt ", "Brandt^Karin"),
        ("Brandt^Karin^^Dr", "Brandt^Karin^^Dr"),
        ("Brandt", "Brandt"),
        ("Anna Maria Brandt", "Brandt^Anna Maria"),
        ("山田, 太郎", "山田^太郎"),
    ],
)
def test_names_as_people_write_them(said: str, name: str) -> None:
    assert person_name_of(said) == name


@pytest.mark.parametrize(
    "said", ["", " ", "^", "unknown^unknown", "Unknown", "12", "a\\b", "a=b", "a\nb^c\x07", "x" * 65]
)
def test_names_of_nobody(said: str) -> None:
    with pytest.raises(ReadError):
        person_name_of(said)
