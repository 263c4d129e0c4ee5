"""What the step select promises, on a real ledger."""

import zlib
from datetime import UTC
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from sqlalchemy import select, update

from orthanc_al.domain import ConfirmedRead, ModelRef, ReadSource, ReadValue, StudyState
from orthanc_al.ledger import Job, Ledger, enqueue, facts, reads, selections
from orthanc_al.ledger.schema import jobs, predictions, studies
from orthanc_al.ledger.selections import AUDIT, QUERY
from orthanc_al.methods import audit
from orthanc_al.pipeline import Step
from orthanc_al.select.nightly import spend_the_rest
from orthanc_al.select.stage import Budget, SelectStage
from tests.support.learning_ledger import add_revision, put_prediction, put_read, put_study
from tests.support.one_by_one import OneByOne

MORNING = 1_800_000_000.0 - 1_800_000_000.0 % 86400.0 + 8 * 3600.0
EVERYTHING_AUDITED = Budget(10, 1.0, 1.0, UTC)
NOTHING_AUDITED = Budget(10, 0.0, 20.0, UTC)


class Desk:
    """A select stage with a clock that the test holds."""

    def __init__(self, ledger: Ledger, budget: Budget, time: float = MORNING) -> None:
        self.ledger, self.time, self.budget = ledger, time, budget
        self._stage = SelectStage(ledger, budget, lambda: self.time)
        with ledger.write() as connection:
            facts.put(connection, "selection_seed", "the test's")

    def score(self, uid: str, logit: float = 0.0, patient: str | None = None, **how: float) -> None:
        with self.ledger.write() as connection:
            put_study(connection, uid, patient=patient, arrived_at=self.time)
            own = zlib.crc32(uid.encode()) / 2**32  # no film looks like another
            put_prediction(connection, uid, logit, scored_at=self.time, embedding=(1.0, own), **how)

    def decide(self, uid: str) -> str:
        outcome = self._stage.run(Job(1, Step.SELECT, uid, 1, "test"))
        with self.ledger.write() as connection:
            outcome.write(connection)
        return outcome.name

    def row(self, uid: str) -> dict:
        with self.ledger.read() as connection:
            query = select(studies).where(studies.c.study_instance_uid == uid)
            return dict(connection.execute(query).mappings().one())

    def drawn(self, uid: str) -> dict:
        with self.ledger.read() as connection:
            return selections.of_study(connection, uid)


def crowd(desk: Desk, count: int, logit: float = 4.0) -> None:
    """Studies of the last days that the model is sure of."""
    with desk.ledger.write() as connection:
        for number in range(count):
            put_study(connection, f"crowd.{number}", arrived_at=desk.time - 1000.0)
            put_prediction(connection, f"crowd.{number}", -logit, scored_at=desk.time - 1000.0)


def test_an_audited_study_shows_nothing_and_stands_where_it_arrived(ledger: Ledger) -> None:
    desk = Desk(ledger, EVERYTHING_AUDITED)
    desk.score("1.2", logit=5.0)
    before = desk.row("1.2")
    assert desk.decide("1.2") == "blind"
    after = desk.row("1.2")
    assert (after["blind"], after["tier"], after["why"]) == (True, "none", "")
    assert after["read_by"] == before["read_by"]
    audit = desk.drawn("1.2")[AUDIT]
    assert audit.propensity == 1.0
    assert audit.fold in ("calibration", "thresholds", "gate")
    assert audit.score is None


def test_an_unasked_study_takes_the_place_that_triage_gave_it(ledger: Ledger) -> None:
    desk = Desk(ledger, Budget(0, 0.2, 0.0, UTC))
    desk.score("1.2", logit=3.0)
    assert desk.decide("1.2") == "unasked"
    row = desk.row("1.2")
    assert (row["tier"], row["why"], row["blind"]) == ("high", "pneumonia 0.95", False)
    assert row["read_by"] == int(MORNING / 60) + 15
    assert desk.drawn("1.2") == {}


def test_a_case_of_doubt_among_sure_ones_is_asked_with_its_propensity(ledger: Ledger) -> None:
    desk = Desk(ledger, NOTHING_AUDITED)
    crowd(desk, 100)
    desk.score("1.2", logit=0.0)
    assert desk.decide("1.2") == "asked"
    query = desk.drawn("1.2")[QUERY]
    assert query.strategy == "power_margin"
    assert 0.5 < query.propensity <= 1.0
    assert query.weight == query.propensity  # nothing is audited here
    assert len(query.pool_digest) == 64
    assert query.day == "2027-01-15"


@pytest.mark.parametrize(("tier", "place"), [("high", 7.0), ("review", 7.0), ("low", None), ("none", None)])
def test_what_is_urgent_is_told_before_the_images_of_what_came_later(
    ledger: Ledger, tier: str, place: float | None
) -> None:
    desk = Desk(ledger, Budget(0, 0.2, 0.0, UTC))
    desk.score("1.2", logit=3.0)
    with ledger.write() as connection:
        connection.execute(update(predictions).values(tier=tier))
    outcome = SelectStage(ledger, desk.budget, lambda: MORNING).run(
        Job(1, Step.SELECT, "1.2", 1, "test", run_at=7.0)
    )
    assert outcome.run_at.get(Step.REPORT) == place


def test_when_a_blind_study_is_told_of_says_nothing_of_its_tier(ledger: Ledger) -> None:
    desk = Desk(ledger, EVERYTHING_AUDITED)
    desk.score("1.2", logit=5.0)
    outcome = SelectStage(ledger, desk.budget, lambda: MORNING).run(
        Job(1, Step.SELECT, "1.2", 1, "test", run_at=7.0)
    )
    assert (outcome.name, outcome.run_at) == ("blind", {})


def test_a_draw_outlives_late_images(ledger: Ledger) -> None:
    desk = Desk(ledger, EVERYTHING_AUDITED)
    desk.score("1.2")
    desk.decide("1.2")
    first = desk.drawn("1.2")
    with ledger.write() as connection:
        add_revision(connection, "1.2", 2)
        put_prediction(connection, "1.2", 2.0, revision=2, scored_at=MORNING + 100)
    desk.time += 100.0
    assert desk.decide("1.2") == "blind"
    assert desk.drawn("1.2") == first


def test_a_study_whose_score_was_seen_is_never_audited_later(ledger: Ledger) -> None:
    unaudited, audited = Desk(ledger, Budget(0, 0.0, 1.0, UTC)), Desk(ledger, EVERYTHING_AUDITED)
    unaudited.score("1.2")
    assert unaudited.decide("1.2") == "unasked"
    audited.decide("1.2")
    assert AUDIT not in audited.drawn("1.2")


def test_the_blind_is_lifted_by_a_signed_read_and_stays_lifted(ledger: Ledger) -> None:
    desk = Desk(ledger, EVERYTHING_AUDITED)
    desk.score("1.2", logit=3.0)
    desk.decide("1.2")
    with ledger.write() as connection:
        assert selections.sign(connection, "1.2", MORNING + 5)
        assert not selections.sign(connection, "1.2", MORNING + 9)
    assert desk.drawn("1.2")[AUDIT].signed_at == MORNING + 5
    assert desk.decide("1.2") == "unasked"
    assert desk.row("1.2")["tier"] == "high"


def test_an_audit_of_a_study_that_was_read_before_its_score_is_signed_at_once(ledger: Ledger) -> None:
    desk = Desk(ledger, EVERYTHING_AUDITED)
    desk.score("1.2")
    with ledger.write() as connection:
        put_read(connection, "1.2", present=True, at=MORNING - 5)
    assert desk.decide("1.2") == "unasked"
    assert desk.drawn("1.2")[AUDIT].signed_at == MORNING - 5


def _sign(ledger: Ledger, uid: str, value: str = "present", reader: str = "Reader^One") -> None:
    read = ConfirmedRead(
        uid, "pneumonia", ReadValue(value), ReadSource.PAGE, reader, MORNING - 5, f"{reader} {value}"
    )
    with ledger.write() as connection:
        reads.record(connection, read, received_at=MORNING, actor="test")


@pytest.mark.parametrize("drawn_before", [False, True])
def test_a_study_that_is_signed_while_it_is_drawn_is_not_blind_for_ever(
    ledger: Ledger, drawn_before: bool
) -> None:
    desk = Desk(ledger, EVERYTHING_AUDITED)
    desk.score("1.2", logit=3.0)
    if drawn_before:
        desk.decide("1.2")
    stage = SelectStage(ledger, EVERYTHING_AUDITED, lambda: MORNING)
    outcome = stage.run(Job(1, Step.SELECT, "1.2", 1, "test"))  # ... and before it is written:
    _sign(ledger, "1.2")
    with ledger.write() as connection:
        outcome.write(connection)
        left = set(connection.execute(select(jobs.c.subject).where(jobs.c.step == "report")).scalars())
    assert desk.drawn("1.2")[AUDIT].signed_at == MORNING
    assert (desk.row("1.2")["blind"], desk.row("1.2")["tier"]) == (False, "high")
    assert left == {"1.2"}


def test_a_study_that_is_read_while_it_is_asked_for_costs_no_question(ledger: Ledger) -> None:
    desk = Desk(ledger, NOTHING_AUDITED)
    crowd(desk, 100)
    desk.score("1.2", logit=0.0)
    outcome = SelectStage(ledger, NOTHING_AUDITED, lambda: MORNING).run(Job(1, Step.SELECT, "1.2", 1, "test"))
    assert outcome.name == "asked"
    _sign(ledger, "1.2")
    with ledger.write() as connection:
        outcome.write(connection)
    assert desk.drawn("1.2") == {}


@pytest.mark.parametrize("how", ["finished", "in conflict"])
def test_an_audit_of_a_study_that_was_done_with_before_its_score_does_not_wait(
    ledger: Ledger, how: str
) -> None:
    desk = Desk(ledger, EVERYTHING_AUDITED)
    desk.score("1.2")
    if how == "finished":
        with ledger.write() as connection:
            reads.finish(connection, "1.2", MORNING - 5, "al-read")
    else:
        _sign(ledger, "1.2")
        _sign(ledger, "1.2", "absent", "Reader^Two")
    assert desk.decide("1.2") == "unasked"
    assert desk.drawn("1.2")[AUDIT].signed_at is not None


def test_a_result_of_an_older_revision_places_nothing(ledger: Ledger) -> None:
    desk = Desk(ledger, EVERYTHING_AUDITED)
    desk.score("1.2")
    with ledger.write() as connection:
        add_revision(connection, "1.2", 2)
        put_study(connection, "1.3")
        put_study(connection, "1.4")
        put_prediction(connection, "1.4", 0.0, triaged=False)
    for uid in ("1.2", "1.3", "1.4", "1.5"):
        assert desk.decide(uid) == "superseded"
    assert desk.row("1.2")["placed_at"] is None


@pytest.mark.parametrize("reason", ["budget", "patient", "read", "junk"])
def test_nobody_is_asked_without_a_cause(ledger: Ledger, reason: str) -> None:
    budget = Budget(1 if reason == "budget" else 10, 0.0, 1.0, UTC)
    desk = Desk(ledger, budget)
    crowd(desk, 10)
    desk.score("1.1", patient="p")
    assert desk.decide("1.1") == "asked"
    desk.score("1.2", patient="p" if reason == "patient" else "q", ood=9.0 if reason == "junk" else 0.5)
    if reason == "read":
        with ledger.write() as connection:
            values = {"state": StudyState.READ.value}
            connection.execute(studies.update().where(studies.c.study_instance_uid == "1.2").values(values))
    assert desk.decide("1.2") == "unasked"


@pytest.mark.parametrize(("per_day", "patient"), [(1, None), (9, "p")], ids=["the day's", "the patient's"])
def test_what_is_decided_at_the_same_time_never_takes_the_last_question_twice(
    ledger: Ledger, per_day: int, patient: str | None
) -> None:
    budget = Budget(per_day, 0.0, 1.0, UTC)
    desk = Desk(ledger, budget)
    crowd(desk, 20)
    desk.score("1.1", patient=patient)
    desk.score("1.2", patient=patient)
    stage = SelectStage(ledger, budget, lambda: MORNING)
    outcomes = [stage.run(Job(n, Step.SELECT, uid, 1, "test")) for n, uid in enumerate(("1.1", "1.2"))]
    for outcome in outcomes:
        with ledger.write() as connection:
            outcome.write(connection)
    assert [QUERY in desk.drawn(uid) for uid in ("1.1", "1.2")] == [True, False]
    assert desk.row("1.2")["placed_at"] is not None


def test_the_budget_begins_anew_with_the_site_s_day(ledger: Ledger) -> None:
    desk = Desk(ledger, Budget(1, 0.0, 1.0, ZoneInfo("Pacific/Auckland")))
    crowd(desk, 20)
    desk.score("1.1")
    desk.score("1.2")
    assert [desk.decide("1.1"), desk.decide("1.2")] == ["asked", "unasked"]
    desk.time += 86400.0
    desk.score("1.3")
    assert desk.decide("1.3") == "asked"
    assert desk.drawn("1.3")[QUERY].day > desk.drawn("1.1")[QUERY].day


def test_the_day_s_end_asks_what_is_left_once_and_reports_it(ledger: Ledger) -> None:
    desk = Desk(ledger, Budget(3, 0.0, 1000.0, UTC))
    for number, logit in enumerate((5.0, 0.1, -5.0, 0.2, 6.0)):
        desk.score(f"1.{number}", logit=logit)
    assert {desk.decide(f"1.{number}") for number in range(5)} == {"unasked"}
    asked = spend_the_rest(ledger, desk.budget, lambda: MORNING + 3600.0)
    assert len(asked) == 3
    assert {"1.1", "1.3"} <= set(asked)
    query = desk.drawn("1.1")[QUERY]
    assert (query.strategy, query.model_digest, len(query.pool_digest)) == (
        "diverse_power_margin",
        "a" * 64,
        64,
    )
    assert 0.0 < query.propensity <= 1.0
    assert query.score is not None
    assert query.seed == audit.fingerprint("the test's")
    assert spend_the_rest(ledger, desk.budget, lambda: MORNING + 3600.0) == []
    with ledger.read() as connection:
        waiting = set(connection.execute(select(jobs.c.subject).where(jobs.c.step == "report")).scalars())
    assert waiting == set(asked)


def test_the_day_s_end_asks_neither_blind_nor_read_studies_and_each_patient_once(ledger: Ledger) -> None:
    desk = Desk(ledger, Budget(9, 0.0, 1000.0, UTC))
    for uid, patient in (("1.1", "p"), ("1.2", "p"), ("1.3", "q"), ("1.4", "r")):
        desk.score(uid, patient=patient)
        desk.decide(uid)
    with ledger.write() as connection:
        put_read(connection, "1.3", present=False)
        selections.hide(connection, "1.4", MORNING)
    assert len(spend_the_rest(ledger, desk.budget, lambda: MORNING + 60.0)) == 1


def test_the_outcomes_are_rows_of_the_pipeline(ledger: Ledger) -> None:
    queue = OneByOne(ledger, "test", clock=lambda: MORNING)
    desk = Desk(ledger, EVERYTHING_AUDITED)
    desk.score("1.2")
    with ledger.write() as connection:
        enqueue(connection, Step.SELECT, "1.2", MORNING)
    job = queue.claim([Step.SELECT])
    assert job is not None
    queue.finish(job, SelectStage(ledger, desk.budget, lambda: MORNING).run(job))
    with ledger.read() as connection:  # a blind study has its place in Orthanc, and no report
        assert connection.execute(select(jobs.c.step)).scalars().all() == [Step.MIRROR]


def test_flags_a_day_meet_the_budget_over_simulated_days(ledger: Ledger) -> None:
    """Seeded: 8 days of 40 studies, budget 12. Audits may come after the budget is spent, questions not."""
    random = np.random.default_rng(5)
    desk = Desk(ledger, Budget(12, 0.25, 40.0, UTC))
    spent = []
    for day in range(8):
        desk.time = MORNING + day * 86400.0
        for number in range(40):
            desk.time += 300.0
            desk.score(f"{day}.{number}", logit=float(random.normal(-2.0, 2.0)))
            desk.decide(f"{day}.{number}")
        with ledger.read() as connection:
            spent.append(selections.spent(connection, desk.budget.day(desk.time)))
    audits = np.mean([one[AUDIT] for one in spent])
    totals = [sum(one.values()) for one in spent]
    assert 1.5 <= audits <= 4.5  # 3 a day expected, standard error .6
    assert 9.0 <= np.mean(totals[1:]) <= 13.0
    assert max(one[QUERY] for one in spent) <= 12


def test_the_day_s_end_shares_the_rest_among_the_models_by_their_studies(ledger: Ledger) -> None:
    """Embeddings of different models are not compared; each model's studies have their part."""
    desk = Desk(ledger, Budget(4, 0.0, 1000.0, UTC))
    for number in range(6):
        desk.score(f"1.{number}", logit=0.1 * number)
    other = ModelRef("ct", "1", "b" * 64)
    with ledger.write() as connection:
        for number in range(2):
            put_study(connection, f"2.{number}", arrived_at=MORNING)
            put_prediction(
                connection, f"2.{number}", 0.0, scored_at=MORNING, model=other, embedding=(number, 1.0, 2.0)
            )
    for uid in [*(f"1.{n}" for n in range(6)), "2.0", "2.1"]:
        desk.decide(uid)
    asked = spend_the_rest(ledger, desk.budget, lambda: MORNING + 60.0)
    assert [uid[0] for uid in asked].count("1") == 3
    assert [uid[0] for uid in asked].count("2") == 1
