"""Promise 6: whatever the model said of a blind study, nothing that is shown depends on it.

Two ledgers are the same but for one study: blind and scored in the one, without a score in the other. Every
answer of the service is the same to the byte.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, update

from orthanc_al.domain import StudyState, Tier
from orthanc_al.ledger import Ledger, schema, trail, worklist
from orthanc_al.ledger.waiting import enqueue
from orthanc_al.pipeline import Step
from orthanc_al.web import create_app, live
from orthanc_al.web.pages import View
from tests.support.asgi import ask
from tests.support.worklist_ledger import NOW, PNEUMONIA, Case, add, cases, keep_alive, put_films

UID = "2.25.99"
PATHS = [
    "/",
    "/live",
    "/live?tier=high",
    "/live?tier=none",
    "/live?listed=all",
    f"/studies/{UID}",
    f"/studies/{UID}/picture",
    f"/studies/{UID}/picture?size=large&marked=1",
    "/review",
    "/adjudication",
    "/deliveries",
    "/reader",
    "/models",
    "/api/v1/me",
    f"/api/v1/studies/{UID}/next",
    "/api/v1/studies/2.25.1/next?modality=DX",
    "/api/v1/worklist",
    "/api/v1/worklist?tier=high",
    "/api/v1/worklist?tier=none&listed=all",
    f"/api/v1/studies/{UID}",
    "/api/v1/models",
    "/api/v1/deliveries",
    "/api/v1/monitor",
    "/monitor",
    "/healthz",
    "/readyz",
    "/metrics",
]

ORDERS = {
    "/pause",
    "/resume",
    "/theme",
    "/studies/{study_instance_uid}/read",
    "/models/promote",
    "/models/rollback",
    "/deliveries/retry",
    "/deliveries/cancel",
}

Change = Callable[[Connection], None]


def _nothing(_: Connection) -> None:
    return


def _tier_slipped_through(connection: Connection) -> None:
    """The curtain holds even where a stage wrote into ``studies`` what it must not."""
    here = schema.studies.c.study_instance_uid == UID
    connection.execute(update(schema.studies).where(here).values(tier="high", why="Pneumonia probable"))


def _with_a_trail(connection: Connection) -> None:
    trail.record(connection, "worker", "study_drawn_for_audit", UID, probability=0.93)


def _failed(subject: str) -> Change:
    def change(connection: Connection) -> None:
        enqueue(connection, Step.SELECT, subject, NOW)
        failed = {"state": "quarantined", "error": "probability 0.93"}
        connection.execute(update(schema.jobs).where(schema.jobs.c.subject == subject).values(failed))

    return change


BLIND = Case(UID, probability=0.93, blind=True, minutes_ago=33)
HIDDEN: dict[str, tuple[Case, Case, Change]] = {
    "blind": (BLIND, Case(UID, state=StudyState.COMPLETE, minutes_ago=33), _nothing),
    "blind, reopened by a late image": (
        Case(UID, state=StudyState.ARRIVING, probability=0.93, blind=True, minutes_ago=33),
        Case(UID, state=StudyState.ARRIVING, minutes_ago=33),
        _nothing,
    ),
    "blind, of an urgent order": (
        Case(UID, probability=0.93, blind=True, priority="STAT"),
        Case(UID, state=StudyState.COMPLETE, priority="STAT"),
        _nothing,
    ),
    "blind, off the worklist without a read": (
        Case(UID, state=StudyState.EXPIRED, probability=0.93, blind=True),
        Case(UID, state=StudyState.EXPIRED),
        _nothing,
    ),
    "scored, but select has not run": (
        Case(UID, probability=0.93, placed=False),
        Case(UID, state=StudyState.COMPLETE),
        _nothing,
    ),
    "blind, with a tier that slipped through": (
        BLIND,
        Case(UID, state=StudyState.COMPLETE, minutes_ago=33),
        _tier_slipped_through,
    ),
    "blind, with a job that failed after the score": (
        BLIND,
        Case(UID, state=StudyState.COMPLETE, minutes_ago=33),
        _failed(UID),
    ),
    "blind, with a line in the audit trail": (
        BLIND,
        Case(UID, state=StudyState.COMPLETE, minutes_ago=33),
        _with_a_trail,
    ),
}


def _answers(folder: Path, case: Case, change: Change = _nothing) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    ledger = Ledger.create(f"sqlite:///{folder}/ledger.sqlite")
    with ledger.write() as connection:
        for number, other in enumerate(cases(6)):
            add(connection, other, number)
        add(connection, case, 50)
        change(connection)
    keep_alive(ledger)
    put_films(ledger, folder)
    app = create_app(
        ledger, spool=folder, clock=lambda: NOW, budget_per_day=20, known_findings=lambda _: (PNEUMONIA,)
    )
    answers = {path: ask(app, path) for path in PATHS}
    ledger.close()
    assert {answer.status_code for answer in answers.values()} == {200}
    return {path: _without_free_space(answer.content) for path, answer in answers.items()}


def _without_free_space(content: bytes) -> bytes:
    """The disk's free space moves between two questions, whatever is in the ledger."""
    lines = content.replace(b',"queue_lag', b'\n"queue_lag').split(b"\n")
    return b"\n".join(line for line in lines if b"spool_free_bytes" not in line)


@pytest.mark.parametrize("name", HIDDEN)
def test_a_hidden_study_looks_as_one_without_a_score(name: str, tmp_path: Path) -> None:
    hidden, twin, change = HIDDEN[name]
    # Jobs are counted by step: the twin's ledger has as many, of another study.
    elsewhere = _failed("2.25.404") if "failed" in name else _nothing
    assert _answers(tmp_path / "hidden", hidden, change) == _answers(tmp_path / "twin", twin, elsewhere)


def test_every_page_and_answer_is_looked_at(tmp_path: Path) -> None:
    ledger = Ledger.create(f"sqlite:///{tmp_path}/ledger.sqlite")
    app = create_app(ledger, spool=tmp_path)
    ledger.close()
    looked_at = {path.partition("?")[0].replace(UID, "{study_instance_uid}") for path in PATHS}
    looked_at = {path.replace("2.25.1/", "{study_instance_uid}/") for path in looked_at}
    served = {path for path in app.state.context.pages if path}
    served |= {path for path, methods in app.openapi()["paths"].items() if "get" in methods}
    # The stream has a test of its own; an order is answered with where to look next.
    assert served - ORDERS - {"/live/events"} - looked_at == set()


def test_no_event_tells_of_a_hidden_score(tmp_path: Path) -> None:
    """The stream of news compares what is shown: a score, or its place, of a blind study is none."""
    ledger = Ledger.create(f"sqlite:///{tmp_path}/ledger.sqlite")
    with ledger.write() as connection:
        add(connection, Case(UID, state=StudyState.COMPLETE, minutes_ago=33), 50)
    app = create_app(ledger, spool=tmp_path, clock=lambda: NOW)
    view = View(worklist.Filter(), 1)
    before = live.look(app.state.context, view, None, anyway=True)
    with ledger.write() as connection:
        here = schema.studies.c.study_instance_uid == UID
        scored = {"state": "scored", "blind": True, "placed_at": NOW, "tier": "high"}
        connection.execute(update(schema.studies).where(here).values(**scored))
    after = live.look(app.state.context, view, before, anyway=False)
    ledger.close()
    assert after.written_at > before.written_at
    assert after.shown == before.shown


def test_signed_read_lifts_the_curtain(tmp_path: Path) -> None:
    signed = Case(UID, state=StudyState.READ, probability=0.93, blind=True, signed=True)
    shown = _answers(tmp_path, signed)[f"/studies/{UID}"].decode()
    assert "93 %" in shown
    assert "the audit" in shown


def test_a_selection_signed_while_the_study_still_says_blind_lifts_it_too(ledger: Ledger) -> None:
    with ledger.write() as connection:
        add(connection, Case(UID, probability=0.93, blind=True, signed=True), blind=True)
        entry = worklist.get(connection, UID)
    assert entry is not None
    assert entry.result is not None


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    probability=st.floats(0, 1),
    ood=st.floats(0, 50),
    tier=st.sampled_from(Tier),
    why=st.text(max_size=40).filter(lambda text: "\x00" not in text),
    read_by=st.none() | st.integers(0, 10**8),
    revision=st.integers(1, 9),
)
def test_no_value_of_a_hidden_prediction_changes_the_line(
    ledger: Ledger,
    probability: float,
    ood: float,
    tier: Tier,
    why: str,
    read_by: int | None,
    revision: int,
) -> None:
    with ledger.write() as connection:
        for table in (
            schema.image_scores,
            schema.predictions,
            schema.selections,
            schema.deliveries,
            schema.instances,
            schema.studies,
        ):
            connection.execute(delete(table))
        add(connection, BLIND)
        before = worklist.get(connection, UID)
        said = {"probability": probability, "ood": ood, "read_by": read_by, "revision": revision}
        connection.execute(update(schema.predictions).values(said | {"tier": tier.value, "why": why}))
        connection.execute(update(schema.studies).values(tier=tier.value, why=why))
        connection.execute(
            insert(schema.selections).values(
                study_instance_uid=UID,
                kind="query",
                strategy="margin",
                propensity=0.5,
                seed="",
                decided_at=0,
                day="",
            )
        )
        assert worklist.get(connection, UID) == before
