"""The web application: who may ask, what is shown, and what programs get."""

import base64
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text, update

from orthanc_al.domain import StudyState, Tier
from orthanc_al.ledger import Ledger, facts, schema, trail
from orthanc_al.ledger.waiting import enqueue
from orthanc_al.pipeline import Step
from orthanc_al.web import create_app
from tests.support.asgi import ask
from tests.support.worklist_ledger import NOW, Case, add, fill, keep_alive

HTML = {"accept": "text/html"}
Make = Callable[..., FastAPI]


@pytest.fixture
def make(ledger: Ledger, tmp_path: Path) -> Make:
    """Builds the application on the test's ledger."""

    def build(**values: object) -> FastAPI:
        defaults = {"spool": tmp_path, "timezone": "Europe/Zurich", "clock": lambda: NOW}
        return create_app(ledger, **(defaults | values))

    return build


@pytest.fixture
def app(ledger: Ledger, make: Make) -> FastAPI:
    """The application with forty studies and all processes alive."""
    fill(ledger, 40)
    keep_alive(ledger)
    return make()


def _basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


# --- who may ask -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/live", "/readyz", "/metrics", "/api/v1/worklist", "/static/style.css"]
)
def test_password_is_asked_for_on_every_path(make: Make, path: str) -> None:
    answer = ask(make(password="sécret"), path, host="worklist.example")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")


def test_health_check_needs_no_password(make: Make) -> None:
    assert ask(make(password="secret"), "/healthz", host="10.0.0.7").text == "alive\n"


def test_right_password_opens_whatever_the_user(make: Make) -> None:
    app = make(password="sécret:with colon")
    assert ask(app, "/", headers=_basic("", "sécret:with colon"), host="worklist.example").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        _basic("admin", "wrong"),
        _basic("admin", ""),
        {"authorization": "Basic not base64!"},
        {"authorization": "Bearer secret"},
        {"authorization": "Basic"},
    ],
)
def test_wrong_password_is_refused(make: Make, headers: dict[str, str]) -> None:
    assert ask(make(password="secret"), "/", headers=headers).status_code == 401


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "localhost:8080", "[::1]:8080", "[::1]"])
def test_loopback_answers_to_its_names(make: Make, host: str) -> None:
    assert ask(make(), "/", host=host).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "0.0.0.0"])
def test_loopback_refuses_other_names(make: Make, host: str) -> None:
    assert ask(make(), "/", host=host).status_code == 421


def test_every_answer_has_the_security_headers(app: FastAPI) -> None:
    for path in ("/", "/api/v1/worklist", "/studies/none", "/healthz"):
        headers = ask(app, path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


# --- pause and resume ------------------------------------------------------------------------------


def _paused(ledger: Ledger) -> bool:
    with ledger.read() as connection:
        return facts.scoring_paused(connection)


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://127.0.0.1:8080"}, {"origin": "https://127.0.0.1:8080"}, {"x-orthanc-al": "1"}],
)
def test_one_request_stops_scoring_and_one_lets_it_go_on(
    ledger: Ledger, app: FastAPI, headers: dict[str, str]
) -> None:
    assert ask(app, "/api/v1/pause", method="POST", headers=headers).json() == {"paused": True}
    assert _paused(ledger)
    assert ask(app, "/api/v1/resume", method="POST", headers=headers).json() == {"paused": False}
    assert not _paused(ledger)


@pytest.mark.parametrize("path", ["/pause", "/api/v1/pause"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://evil.example", "x-orthanc-al": "1"},
    ],
)
def test_foreign_pages_can_not_stop_scoring(
    ledger: Ledger, app: FastAPI, path: str, headers: dict[str, str]
) -> None:
    assert ask(app, path, method="POST", headers=headers).status_code == 403
    assert not _paused(ledger)


def test_buttons_of_the_page_lead_back_to_the_worklist(ledger: Ledger, app: FastAPI) -> None:
    for path, paused in (("/pause", True), ("/resume", False)):
        answer = ask(app, path, method="POST", headers={"origin": "http://127.0.0.1:8080"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert _paused(ledger) is paused
        assert ("Scoring is paused" in ask(app, "/").text) is paused


def test_trail_names_who_paused_once(ledger: Ledger, make: Make) -> None:
    app = make(password="secret")
    for _ in range(2):
        ask(
            app, "/api/v1/pause", method="POST", headers=_basic("K. Brandt", "secret") | {"x-orthanc-al": "1"}
        )
    with ledger.read() as connection:
        lines = [(line["actor"], line["action"]) for line in trail.recent(connection)]
    assert lines == [("K. Brandt", "scoring_paused")]


# --- pages -----------------------------------------------------------------------------------------


def test_page_lists_studies_in_the_order_of_the_api(app: FastAPI) -> None:
    shown = re.findall(r'id="study-([\d.]+)"', ask(app, "/").text)
    told = [line["study_instance_uid"] for line in ask(app, "/api/v1/worklist").json()["studies"]]
    assert shown == told
    assert len(shown) == 39


def test_live_part_is_the_part_of_the_page(app: FastAPI) -> None:
    assert ask(app, "/live?tier=review").text in ask(app, "/?tier=review").text


def test_page_says_what_a_reader_needs(app: FastAPI) -> None:
    text = ask(app, "/").text
    for words in (
        "outside model&#39;s domain" if "&#39;" in text else "outside model's domain",
        "read asked for",
        "no model for modality CT",
        "Pneumonia probable: read within 15 min",
        "In order of arrival; no score",
        "Research use only, not for clinical decisions.",
        "cxr-pneumonia <b>1.1.0</b>",
        "CPU",
    ):
        assert words in text


def test_page_runs_nothing_from_elsewhere_and_nothing_inline(app: FastAPI) -> None:
    for path in ("/", "/studies/2.25.1", "/models"):
        page = ask(app, path).text
        assert re.findall(r'(?:src|href)="(?:https?:)?//', page) == []
        assert re.findall(r"<style|style=|\son\w+=|<script(?! src=\"/static/)", page) == []


def test_names_are_escaped(ledger: Ledger, make: Make) -> None:
    with ledger.write() as connection:
        add(connection, Case("2.25.1"), patient_name="<script>alert(1)</script>", description='"><img src=x>')
    for path in ("/", "/studies/2.25.1"):
        page = ask(make(), path).text
        assert "<script>alert" not in page
        assert "<img src=x" not in page


def test_long_lists_are_shown_in_parts(ledger: Ledger, make: Make) -> None:
    fill(ledger, 150)
    first, second = (ask(make(), f"/?modality=&page={n}").text for n in (1, 2))
    assert len(re.findall('id="study-', first)) == 100
    assert len(re.findall('id="study-', second)) == 49
    assert 'rel="next"' in first
    assert 'rel="prev"' in second
    assert '<td role="cell" class="number">101</td>' in second


def test_filters_stay_in_the_links(app: FastAPI) -> None:
    page = ask(app, "/?modality=DX&q=nov&listed=all").text
    assert 'href="/?modality=DX&amp;tier=high&amp;q=nov&amp;listed=all"' in page
    assert 'data-source="/live?modality=DX&amp;q=nov&amp;listed=all"' in page


def test_empty_list_says_how_to_send_a_first_study(make: Make) -> None:
    assert "orthanc-al send FOLDER" in ask(make(), "/").text
    assert "No study matches" in ask(make(), "/?q=nobody").text


def test_study_page_tells_of_results_deliveries_and_the_viewer(ledger: Ledger, make: Make) -> None:
    fill(ledger, 12)
    page = ask(make(viewer_template="http://viewer/?s={study_instance_uid}"), "/studies/2.25.2").text
    shown = ("91 %", "Uncertainty", ">0.20<")
    for words in (*shown, "pacs: sent", "research: waiting", "near the threshold", "http://viewer/?s=2.25.2"):
        assert words in page


def test_models_page_tells_what_is_live_and_why(app: FastAPI) -> None:
    page = ask(app, "/models").text
    for words in ("live", "K. Brandt", "better on the audit slice", "lower_bound"):
        assert words in page


def test_unknown_study_is_a_page_for_people_and_json_for_programs(app: FastAPI) -> None:
    page = ask(app, "/studies/2.25.404", headers=HTML)
    assert page.status_code == 404
    assert "There is no study 2.25.404" in page.text
    answer = ask(app, "/api/v1/studies/2.25.404", headers=HTML)
    assert answer.status_code == 404
    assert answer.json() == {"detail": "The ledger has no study 2.25.404."}


# --- programs --------------------------------------------------------------------------------------


def test_api_has_times_with_an_offset_and_positions_over_parts(app: FastAPI) -> None:
    answer = ask(app, "/api/v1/worklist?limit=5&offset=5").json()
    assert [line["position"] for line in answer["studies"]] == [6, 7, 8, 9, 10]
    assert answer["total"] == 39
    assert answer["studies"][0]["read_by"].endswith("Z")


def test_api_shows_a_study_whole(app: FastAPI) -> None:
    answer = ask(app, "/api/v1/studies/2.25.2").json()
    assert answer["study"]["asked"] is True
    assert (answer["results"][0]["probability"], answer["results"][0]["std"]) == (0.91, 0.2)
    assert answer["selections"][0]["kind"] == "query"
    assert {one["state"] for one in answer["instances"][0]["deliveries"]} == {"sent", "waiting"}


def test_api_tells_which_model_is_live(app: FastAPI) -> None:
    known = ask(app, "/api/v1/models").json()["models"]
    assert [(model["version"], model["live"]) for model in known] == [
        ("1.1.0", True),
        ("1.0.0", False),
    ]


def test_api_tells_what_waits_for_whom(app: FastAPI) -> None:
    pacs, research = ask(app, "/api/v1/deliveries").json()
    assert (pacs["destination"], pacs["sent"], pacs["oldest_waiting_seconds"]) == ("pacs", 40, None)
    assert (research["waiting"], research["oldest_waiting_seconds"] > 7000) == (40, True)


@pytest.mark.parametrize("query", ["tier=urgent", "limit=0", "limit=1001", "offset=-1", "listed=some"])
def test_api_names_the_parameter_that_is_wrong(app: FastAPI, query: str) -> None:
    answer = ask(app, f"/api/v1/worklist?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", query.split("=", maxsplit=1)[0]]


def test_openapi_describes_the_api_and_not_the_pages(app: FastAPI) -> None:
    paths = ask(app, "/api/v1/openapi.json").json()["paths"]
    assert "/api/v1/studies/{study_instance_uid}" in paths
    assert not {"/", "/live", "/models"} & set(paths)


# --- readiness and metrics -------------------------------------------------------------------------


def test_ready_where_all_is_well(app: FastAPI) -> None:
    answer = ask(app, "/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (200, [])
    assert answer.json()["provider"] == "CPUExecutionProvider"


def _a_silent_forwarder(ledger: Ledger) -> None:
    role = schema.processes.c.role == "forwarder"
    with ledger.write() as connection:
        connection.execute(update(schema.processes).where(role).values(seen_at=NOW - 95))


def _a_stuck_queue(ledger: Ledger) -> None:
    with ledger.write() as connection:
        enqueue(connection, Step.ASSEMBLE, "2.25.1", NOW - 1200)


def _another_schema(ledger: Ledger) -> None:
    with ledger.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))


def _a_lost_table(ledger: Ledger) -> None:
    with ledger.write() as connection:
        connection.execute(text("DROP TABLE processes"))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (_a_silent_forwarder, "forwarder: no sign of life for 1 min"),
        (_a_stuck_queue, "the oldest job has been due for 20 min"),
        (_another_schema, "the ledger has schema 9999"),
        (_a_lost_table, "the ledger can't be read"),
    ],
)
def test_each_fault_is_a_reason_not_to_be_ready(
    ledger: Ledger, app: FastAPI, fault: Callable[[Ledger], None], reason: str
) -> None:
    fault(ledger)
    answer = ask(app, "/readyz")
    assert answer.status_code == 503
    assert [text for text in answer.json()["reasons"] if text.startswith(reason)]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"min_free_bytes": 10**18}, "less than storage.min_free_gb"),
        ({"spool": Path("/nowhere/at/all")}, "the spool folder can't be read"),
        ({"roles": ("listener", "second-worker")}, "second-worker: has not started"),
    ],
)
def test_spool_and_roles_are_watched(
    ledger: Ledger, make: Make, values: dict[str, object], reason: str
) -> None:
    keep_alive(ledger)
    answer = ask(make(**values), "/readyz")
    assert answer.status_code == 503
    assert reason in answer.json()["reasons"][0]
    assert reason in ask(make(**values), "/").text.replace("&#39;", "'")


def test_paused_service_is_ready_though_scoring_waits(ledger: Ledger, app: FastAPI) -> None:
    with ledger.write() as connection:
        facts.put(connection, facts.PAUSED, "yes")
        enqueue(connection, Step.SCORE, "2.25.1", NOW - 5000)
    answer = ask(app, "/readyz").json()
    assert (answer["ready"], answer["paused"]) == (True, True)


def _metrics(app: FastAPI) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(ask(app, "/metrics").text)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_count_what_the_ledger_holds(ledger: Ledger, app: FastAPI) -> None:
    with ledger.write() as connection:
        enqueue(connection, Step.SCORE, "2.25.1", NOW - 30)
    found = _metrics(app)
    assert found["orthanc_al_instances_received_total", "dicom"] == 40
    assert found["orthanc_al_deliveries", "research", "waiting"] == 40
    assert found["orthanc_al_delivery_oldest_waiting_seconds", "research"] > 7000
    assert found["orthanc_al_jobs", "ready", "score"] == 1
    assert found["orthanc_al_queue_lag_seconds",] == 30
    assert found["orthanc_al_process_up", "worker"] == 1
    assert found["orthanc_al_ready",] == 1
    assert found["orthanc_al_studies_scored", "cxr-pneumonia", "1.1.0"] == 34


def test_metrics_name_no_patient_no_study_and_no_tier(ledger: Ledger, app: FastAPI) -> None:
    text = ask(app, "/metrics").text
    assert "2.25." not in text
    assert "Okafor" not in text
    assert "tier" not in text
    assert not {tier.value for tier in (Tier.HIGH, Tier.LOW)} & set(re.findall(r'"(\w+)"', text))


def test_a_blind_study_counts_as_complete(ledger: Ledger, make: Make) -> None:
    with ledger.write() as connection:
        add(connection, Case("2.25.1", probability=0.9, blind=True))
    found = _metrics(make())
    assert found["orthanc_al_studies", StudyState.COMPLETE.value] == 1
    assert not [key for key in found if key[0] == "orthanc_al_studies_scored"]
