"""The pages without a script: reading by forms, names and colours, pictures, and those who run it."""

import base64
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from sqlalchemy import insert, select, update

from orthanc_al.domain import ConfirmedRead, ReadSource, ReadValue, Tier
from orthanc_al.ledger import Ledger, models, reads, schema, trail
from orthanc_al.ledger.shadow import ShadowRule
from orthanc_al.ledger.worklist import Filter
from orthanc_al.web import create_app, live
from orthanc_al.web.context import User
from orthanc_al.web.frame import back
from orthanc_al.web.pages import View
from orthanc_al.web.reader import COOKIE
from tests.support.asgi import ask
from tests.support.tiny_package import tiny_package
from tests.support.worklist_ledger import (
    DIGESTS,
    NOW,
    PNEUMONIA,
    Case,
    add,
    fill,
    instance_of,
    keep_alive,
    put_films,
)

FORM = {"origin": "http://127.0.0.1:8080", "content-type": "application/x-www-form-urlencoded"}
Make = Callable[..., FastAPI]


@pytest.fixture
def make(ledger: Ledger, tmp_path: Path) -> Make:
    def build(**values: object) -> FastAPI:
        defaults: dict[str, object] = {
            "spool": tmp_path,
            "clock": lambda: NOW,
            "budget_per_day": 20,
            "known_findings": lambda _: (PNEUMONIA,),
            "viewer_template": "http://viewer/{study_instance_uid}",
            "viewers": {"Orthanc": "http://orthanc/{orthanc_id}"},
        }
        return create_app(ledger, **(defaults | values))  # type: ignore[arg-type]

    return build


@pytest.fixture
def app(ledger: Ledger, make: Make) -> FastAPI:
    fill(ledger, 12)
    keep_alive(ledger)
    return make()


def _post(app: FastAPI, path: str, headers: Mapping[str, str] = FORM, **fields: object) -> httpx.Response:
    body = str(httpx.QueryParams({key: str(value) for key, value in fields.items()}))
    return ask(app, path, method="POST", content=body.encode(), headers=headers)


def _named(app: FastAPI) -> dict[str, str]:
    answer = _post(app, "/reader", reader="Brandt, Karin", back="/review")
    assert (answer.status_code, answer.headers["location"]) == (303, "/review")
    return FORM | {"cookie": f"{COOKIE}={answer.cookies[COOKIE]}"}


# --- reading ---------------------------------------------------------------------------------------


def test_a_form_signs_and_the_page_says_so_and_offers_the_way_back(app: FastAPI) -> None:
    me = _named(app)
    answer = _post(
        app, "/studies/2.25.1/read", me, value="absent", revision=1, finding="pneumonia", back="/?tier=high"
    )
    assert answer.status_code == 303
    to = answer.headers["location"]
    assert to.startswith("/?tier=high&said=2.25.")
    page = ask(app, to, headers=me).text
    assert "Absent: pneumonia in A2670000, signed by Brandt, Karin." in page
    assert 'id="study-2.25.1"' not in page
    assert _post(app, "/studies/2.25.1/read", me, value="reopen", back="/").headers["location"] == "/"
    assert 'id="study-2.25.1"' in ask(app, "/").text


def test_a_form_without_a_name_asks_for_it_first_and_writes_nothing(ledger: Ledger, app: FastAPI) -> None:
    answer = _post(app, "/studies/2.25.1/read", value="present", revision=1, back="/?q=a b")
    assert answer.headers["location"] == "/reader?back=%2F%3Fq%3Da%20b"
    assert 'value="/?q=a b"' in ask(app, answer.headers["location"]).text
    with ledger.read() as connection:
        assert connection.execute(select(schema.reads)).first() is None


def test_a_form_of_a_page_left_open_is_told_that_images_came(ledger: Ledger, app: FastAPI) -> None:
    me = _named(app)
    with ledger.write() as connection:
        connection.execute(update(schema.studies).values(revision=2))
    for value in ("present", "done"):
        answer = _post(
            app,
            "/studies/2.25.1/read",
            me | {"accept": "text/html"},
            value=value,
            revision=1,
            finding="pneumonia",
        )
        assert answer.status_code == 409
        assert "look at it again" in answer.text
        assert "Back to the worklist" in answer.text


@pytest.mark.parametrize(
    "fields", [{}, {"value": "maybe", "revision": 1}, {"value": "present", "revision": "x"}]
)
def test_a_spoilt_form_is_told_what_it_lacks(app: FastAPI, fields: dict[str, object]) -> None:
    answer = _post(app, "/studies/2.25.1/read", _named(app), **fields)
    assert answer.status_code == 422
    assert "lacks or spoils" in answer.text


@pytest.mark.parametrize("body", [b"x" * 20_000, b"\xff\xfe=1"])
def test_a_form_of_bytes_is_refused(app: FastAPI, body: bytes) -> None:
    answer = ask(app, "/reader", method="POST", content=body, headers=FORM)
    assert answer.status_code in (413, 422)


def test_a_name_is_kept_shown_and_forgotten(app: FastAPI) -> None:
    me = _named(app)
    assert "Brandt, Karin" in ask(app, "/", headers=me).text
    assert "Your name, to sign reads" in ask(app, "/").text
    assert "Max-Age=0" in _post(app, "/reader", me, forget=1).headers["set-cookie"]
    assert _post(app, "/reader", reader="unknown").status_code == 422


def test_who_is_known_by_a_password_is_not_asked(make: Make) -> None:
    app = make(users={"brandt": User("secret", "Brandt^Karin")})
    me = FORM | {"authorization": "Basic " + base64.b64encode(b"brandt:secret").decode()}
    page = ask(app, "/", headers=me).text
    assert "Brandt, Karin" in page
    assert "Not you?" not in page
    assert "known by your password as Brandt, Karin" in ask(app, "/reader", headers=me).text
    assert _post(app, "/reader", me, reader="Weiss, Hannah").status_code == 403


@pytest.mark.parametrize("theme", ["dark", "light", "system", "pink"])
def test_colours_are_the_readers_choice(app: FastAPI, theme: str) -> None:
    answer = _post(app, "/theme", theme=theme, back="/models")
    assert answer.headers["location"] == "/models"
    page = ask(app, "/", headers={"cookie": f"orthanc_al_theme={theme}"}).text
    assert (f'data-theme="{theme}"' in page) is (theme in ("dark", "light"))
    assert ("set-cookie" in answer.headers) is (theme != "pink")


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "evil", "/a\r\nb", "/x\\y"]
)
def test_no_form_leads_to_another_site(wanted: str) -> None:
    assert back({"back": wanted}) == "/"


# --- asked, disputed -------------------------------------------------------------------------------


def test_what_is_asked_stands_with_the_days_number(app: FastAPI) -> None:
    page = ask(app, "/review").text
    assert "<b>2</b> asked today, <b>0</b> of them read; at most 20 a day" in page
    assert page.index("A2670001") < page.index("A2670002")
    assert "near the threshold" in page
    assert "uncertainty 0.20, asked" in page


def test_readers_who_disagree_are_decided_between(ledger: Ledger, app: FastAPI) -> None:
    with ledger.write() as connection:
        for number, (reader, value) in enumerate((("Weiss^Hannah", "present"), ("Novak^Pavel", "absent"))):
            said = ConfirmedRead(
                "2.25.1", "pneumonia", ReadValue(value), ReadSource.VERIFIED_SR, reader, NOW, f"1.{number}"
            )
            reads.record(connection, said, received_at=NOW, actor="report")
        unnamed = ConfirmedRead(
            "2.25.3", "pneumonia", ReadValue.PRESENT, ReadSource.VIEWER_SR, "", NOW, "1.7"
        )
        reads.record(connection, unnamed, received_at=NOW, actor="report", waits=True)
    page = ask(app, "/adjudication").text
    for words in ("readers disagree", "Weiss, Hannah", "Novak, Pavel", "nobody is named", 'value="1.0 1.1"'):
        assert words in page
    me = _named(app)
    for uid, settles in (("2.25.1", "1.0 1.1"), ("2.25.3", "1.7")):
        answer = _post(
            app,
            f"/studies/{uid}/read",
            me,
            value="present",
            revision=1,
            finding="pneumonia",
            settles=settles,
            back="/adjudication",
        )
        assert answer.headers["location"] == "/adjudication"
    assert "Nothing is to be decided" in ask(app, "/adjudication").text
    with ledger.read() as connection:
        states = connection.execute(select(schema.reads.c.state).order_by(schema.reads.c.id)).scalars().all()
    assert states == ["superseded", "superseded", "superseded", "counts", "counts"]


# --- pictures --------------------------------------------------------------------------------------


def _picture(app: FastAPI, uid: str, query: str = "") -> np.ndarray | None:
    answer = ask(app, f"/studies/{uid}/picture{query}")
    assert answer.status_code == 200
    if answer.headers["content-type"] != "image/png":
        assert answer.headers["content-type"] == "image/svg+xml"
        return None
    return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)


def test_a_picture_shows_the_film_and_on_demand_the_region(
    ledger: Ledger, app: FastAPI, tmp_path: Path
) -> None:
    put_films(ledger, tmp_path)
    plain, marked = _picture(app, "2.25.1"), _picture(app, "2.25.1", "?marked=1")
    assert plain is not None
    assert marked is not None
    assert max(plain.shape) == 112
    changed = (plain != marked).any(axis=2)
    assert 0 < changed.mean() < 0.2
    large = _picture(app, "2.25.1", "?size=large&marked=1")
    assert large is not None
    assert max(large.shape) == 720


def test_a_hidden_study_has_a_picture_without_a_mark_while_every_studys_file_is_here(
    ledger: Ledger, app: FastAPI, make: Make, tmp_path: Path
) -> None:
    put_films(ledger, tmp_path)
    plain, marked = _picture(app, "2.25.5"), _picture(app, "2.25.5", "?marked=1")
    assert plain is not None
    assert (plain == marked).all()
    assert _picture(make(keep_seconds=60.0), "2.25.5") is None
    assert _picture(make(keep_seconds=60.0), "2.25.1") is not None


@pytest.mark.parametrize("fault", ["no file", "no DICOM", "no study"])
def test_without_a_picture_the_list_has_no_hole(
    ledger: Ledger, app: FastAPI, tmp_path: Path, fault: str
) -> None:
    if fault == "no DICOM":
        put_films(ledger, tmp_path)
        key = instance_of("2.25.1")
        (tmp_path / key[:2] / f"{key}.dcm").write_bytes(b"\0" * 300)
    assert _picture(app, "2.25.404" if fault == "no study" else "2.25.1") is None


def test_the_training_cache_has_the_picture_when_the_spool_let_go(
    ledger: Ledger, make: Make, tmp_path: Path
) -> None:
    fill(ledger, 12)
    np.save(tmp_path / "kept.npy", np.linspace(-1, 1, 64 * 64, dtype=np.float16).reshape(1, 64, 64))
    with ledger.write() as connection:
        connection.execute(update(schema.instances).values(spooled=False))
        for uid in ("2.25.1", "2.25.5"):
            connection.execute(
                insert(schema.training_cache).values(
                    study_instance_uid=uid,
                    instance_id=instance_of(uid),
                    frame=1,
                    patient_key="p",
                    file="kept.npy",
                    preprocessing="x",
                    created_at=NOW,
                )
            )
    app = make(training_cache=tmp_path)
    assert _picture(app, "2.25.1") is not None
    assert _picture(app, "2.25.5") is None  # of a blind one the cache is not looked at


# --- news ------------------------------------------------------------------------------------------


def test_news_are_what_changes_on_this_view(ledger: Ledger, app: FastAPI) -> None:
    here, view = app.state.context, View(Filter(tier=Tier.HIGH), 1)
    first = live.look(here, view, None, anyway=True)
    assert live.look(here, view, first, anyway=False) is first
    with ledger.write() as connection:
        add(connection, Case("2.25.71", Tier.LOW, probability=0.01), 71)
    other_tier = live.look(here, View(Filter(modality="CT"), 1), None, anyway=True)
    with ledger.write() as connection:
        add(connection, Case("2.25.72", Tier.HIGH, probability=0.9), 72)
    assert live.look(here, view, first, anyway=False).shown != first.shown
    again = live.look(here, View(Filter(modality="CT"), 1), other_tier, anyway=False)
    assert again.shown == other_tier.shown


def test_the_stream_of_news_ends_with_the_service(make: Make) -> None:
    app = make()
    app.state.context.stopping.set()
    answer = ask(app, "/live/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == "retry: 2000\n\n"


# --- those who run it ------------------------------------------------------------------------------


@pytest.fixture
def two_versions(ledger: Ledger, tmp_path: Path) -> tuple[str, str]:
    """Two whole packages of a model, the first one live; return their digests."""
    found = []
    for number, version in enumerate(("1.0.0", "2.0.0")):
        package = (
            tiny_package(tmp_path / version, version=version) if number else tiny_package(tmp_path / version)
        )
        with ledger.write() as connection:
            if number:
                models.add(
                    connection,
                    package.ref,
                    package.folder,
                    parent=found[0],
                    origin="retrained",
                    state="candidate",
                )
            else:
                models.install(connection, package.ref, package.folder)
        found.append(package.ref.digest)
    return found[0], found[1]


def test_a_package_goes_live_and_back_with_a_name_and_a_reason(
    ledger: Ledger, make: Make, two_versions: tuple[str, str]
) -> None:
    app = make()
    old, new = two_versions
    assert (
        _post(app, "/models/promote", digest=new, reason="better").headers["location"].startswith("/reader")
    )
    me = _named(app)
    assert _post(app, "/models/promote", me, digest=new, reason="").status_code == 422
    assert _post(app, "/models/promote", me, digest="f" * 64, reason="better").status_code == 409
    assert _post(app, "/models/promote", me, digest=new, reason="better on the audit").status_code == 303
    page = ask(app, "/models").text
    for words in ("better on the audit", "Brandt, Karin", "Roll back"):
        assert words in page
    with ledger.read() as connection:
        name = models.get(connection, new).ref.name
        assert models.champion(connection, name).ref.digest == new  # type: ignore[union-attr]
    assert _post(app, "/models/rollback", me, name=name, reason="too many alarms").status_code == 303
    with ledger.read() as connection:
        assert models.champion(connection, name).ref.digest == old  # type: ignore[union-attr]
    assert _post(app, "/models/rollback", me, name=name, reason="once more").status_code == 409


def test_a_package_that_does_not_hold_stays_where_it_is(ledger: Ledger, app: FastAPI) -> None:
    answer = _post(app, "/models/promote", _named(app), digest=DIGESTS["1.0.0"], reason="go back")
    assert answer.status_code == 409


def test_a_candidate_that_was_not_long_enough_in_shadow_does_not_go_live_by_the_page_either(
    ledger: Ledger, make: Make, two_versions: tuple[str, str]
) -> None:
    app = make(shadow_rule=ShadowRule(min_studies=50, min_hours=12.0, min_agreement=0.0))
    answer = _post(app, "/models/promote", _named(app), digest=two_versions[1], reason="better")
    assert answer.status_code == 409
    assert "0 of 50 studies in shadow" in answer.text
    with ledger.read() as connection:
        name = models.get(connection, two_versions[0]).ref.name
        assert models.champion(connection, name).ref.digest == two_versions[0]  # type: ignore[union-attr]


def test_nothing_goes_back_to_a_package_that_does_not_hold(
    ledger: Ledger, make: Make, two_versions: tuple[str, str]
) -> None:
    app = make()
    me, (old, new) = _named(app), two_versions
    assert _post(app, "/models/promote", me, digest=new, reason="better").status_code == 303
    with ledger.read() as connection:
        known = models.get(connection, old)
    (known.folder / "model.onnx").write_bytes(b"damaged")
    assert _post(app, "/models/rollback", me, name=known.ref.name, reason="worse").status_code == 409


def test_deliveries_tell_why_and_are_tried_or_given_up(ledger: Ledger, app: FastAPI) -> None:
    page = ask(app, "/deliveries").text
    assert "no association with RESEARCH" in page
    assert "A2670000" in page
    one = {"destination": "research", "subject": instance_of("2.25.1")}
    assert _post(app, "/deliveries/retry", **one).status_code == 303
    me = _named(app)
    assert _post(app, "/deliveries/cancel", me, **one, reason="x").status_code == 422
    assert (
        _post(app, "/deliveries/cancel", me, destination="research", reason="not wanted").status_code == 422
    )
    assert (
        _post(app, "/deliveries/cancel", **one, reason="not wanted").headers["location"].startswith("/reader")
    )
    assert _post(app, "/deliveries/cancel", me, **one, reason="not wanted there").status_code == 303
    told = {line["destination"]: line for line in ask(app, "/api/v1/deliveries").json()}
    assert (told["research"]["cancelled"], told["research"]["waiting"]) == (1, 11)
    with ledger.read() as connection:
        actions = [line["action"] for line in trail.recent(connection)]
    assert actions[:2] == ["deliveries_cancelled", "deliveries_tried_again"]


@pytest.mark.parametrize(
    "path",
    [
        "/reader",
        "/theme",
        "/studies/2.25.1/read",
        "/models/promote",
        "/models/rollback",
        "/deliveries/retry",
        "/deliveries/cancel",
    ],
)
def test_no_form_of_another_site_is_taken(app: FastAPI, path: str) -> None:
    me = _named(app)
    for origin in ("http://evil.example", "null"):
        assert _post(app, path, me | {"origin": origin}, reader="Weiss, Hannah").status_code == 403
    without = {key: value for key, value in me.items() if key != "origin"}
    assert _post(app, path, without, reader="Weiss, Hannah").status_code == 403


def test_the_navigation_names_pages_that_are_there(app: FastAPI) -> None:
    nav = ask(app, "/").text.split("<nav aria-label")[1].split("</nav>")[0]
    links = re.findall(r'href="([^"]+)"', nav)
    assert {"/", "/review", "/adjudication", "/models", "/deliveries"} <= set(links)
    assert {ask(app, link).status_code for link in links} == {200}


def test_pictures_are_kept_for_those_who_ask_again(ledger: Ledger, app: FastAPI, tmp_path: Path) -> None:
    put_films(ledger, tmp_path)
    first = ask(app, "/studies/2.25.2/picture?marked=1").content
    key = instance_of("2.25.2")
    (tmp_path / key[:2] / f"{key}.dcm").unlink()
    assert ask(app, "/studies/2.25.2/picture?marked=1").content == first
