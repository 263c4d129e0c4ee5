"""The guarantee in plain words, and performance from the audit with its propensities."""

from dataclasses import replace

import numpy as np
import pytest

from orthanc_al.domain import Grouping
from orthanc_al.inference.thresholds import Groups, GroupThresholds, Thresholds
from orthanc_al.ledger.learning import LabelledCase
from orthanc_al.ledger.monitoring import ReadBeside
from orthanc_al.ledger.response import Response
from orthanc_al.monitor.guarantee import Evidence, Promise, standing
from orthanc_al.monitor.looking import audits_of
from orthanc_al.monitor.performance import Basis, of_audit, of_readers, share_interval
from orthanc_al.monitor.watch import Head

DAY = 86400.0
NOW = 200 * DAY
PROMISE = Promise(0.05, 0.10, Grouping.NONE, 0.2)
HEAD = Head("pneumonia", np.array([1.0]), 0.0, 1.0, 0.0, Thresholds(operating=0.5, high=0.9, low=0.2))
ANSWERED = Response(100, 95)
FACTORY = Basis(0.0, Thresholds(operating=0.5, high=0.9, low=0.2), Grouping.NONE)
MADE_HERE = replace(FACTORY, made_at=NOW)


def case(number: int, present: bool, logit: float = 0.0, **what: object) -> LabelledCase:
    given = {
        "propensity": 0.1,
        "fold": "thresholds",
        "station": "",
        "arrived_at": NOW - number % 180 * DAY,
        **what,
    }
    return LabelledCase(
        study_instance_uid=f"1.{number}",
        finding="pneumonia",
        present=present,
        patient_key=f"p{number}",
        kind="audit",
        ai_shown=False,
        embedding=np.array([logit], np.float32),
        ood=0.5,
        sex="",
        birth_date="",
        **given,
    )


def evidence(low: float | None = 0.05, **what: object) -> Evidence:
    given = {
        "thresholds": Thresholds(operating=0.5, low=low),
        "retrained": True,
        "response": ANSWERED,
        "mix_changed": "",
        "window_days": 90.0,
    }
    return Evidence(**{**given, **what})


def replace_model(thresholds: Thresholds, groups: Groups) -> Thresholds:
    return thresholds.model_copy(update={"groups": groups})


def said(positives: int, standing_of: Evidence, promise: Promise = PROMISE):
    return standing(promise, "pneumonia", [case(n, True) for n in range(positives)], standing_of, NOW)


def test_it_holds_and_says_over_whom() -> None:
    (point,) = said(50, evidence())
    assert (point.value, point.alarm) == (1.0, False)
    assert point.reason.startswith("Holds: with 90% confidence at most 5% of the studies with pneumonia")
    assert "change of the mix of disease does" in point.reason


def test_it_says_how_many_positives_are_missing_and_how_long_that_takes() -> None:
    (point,) = said(30, evidence(None))
    assert point.value == 0.0
    assert "30 audited positives for its border, 45 are needed" in point.reason
    spread = [case(n, True, arrived_at=NOW - n * 6 * DAY) for n in range(30)]
    (point,) = standing(PROMISE, "pneumonia", spread, evidence(None), NOW)
    assert "15 are missing: some 84 days at the rate of the last 90." in point.reason
    young = [case(n, True, arrived_at=NOW - n % 20 * DAY) for n in range(30)]
    (point,) = standing(PROMISE, "pneumonia", young, evidence(None), NOW)
    assert "15 are missing: some 10 days at the rate of the last 19." in point.reason
    old = [case(n, True, arrived_at=0.0) for n in range(30)]
    (point,) = standing(PROMISE, "pneumonia", old, evidence(None), NOW)
    assert "none came in the last 90 days" in point.reason
    assert "There are enough" in said(46, evidence(None))[0].reason


def test_the_factory_s_border_is_never_believed() -> None:
    assert said(50, evidence(retrained=False))[0].value == 0.0


def test_it_is_withdrawn_where_audits_are_not_read() -> None:
    (point,) = said(50, evidence(response=Response(10, 7)))
    assert (point.value, point.alarm) == (0.0, True)
    assert point.reason.startswith("Withdrawn: 30% of the audits gave no label")


def test_it_is_in_doubt_where_the_mix_of_disease_changed() -> None:
    (point,) = said(50, evidence(mix_changed="audited positives score otherwise"))
    assert (point.value, point.alarm) == (0.0, True)
    assert point.reason.startswith("In doubt:")


def test_each_group_has_a_standing_of_its_own() -> None:
    by_station = Promise(0.05, 0.10, Grouping.STATION, 0.2)
    borders = (GroupThresholds(name="A", low=0.05, positives=50, negatives=9),)
    thresholds = Thresholds(operating=0.5, low=0.05, groups=Groups(by=Grouping.STATION, borders=borders))
    cases = [case(n, True, station="A") for n in range(50)] + [case(99, False, station="B")]
    first, second = standing(by_station, "pneumonia", cases, evidence(thresholds=thresholds), NOW)
    assert (first.part, first.value) == ("A", 1.0)
    assert (second.part, second.value) == ("B", 0.0)
    assert "of station A" in first.reason
    assert "45 are missing" in second.reason


def test_figures_of_the_audit_are_weighed_by_its_propensities() -> None:
    """Half of the audit was drawn ten times as densely; the weights undo that."""
    cases = [case(n, False, -3.0, propensity=0.5) for n in range(100)]
    cases += [case(1000 + n, True, 3.0 if n else -3.0, propensity=0.05) for n in range(10)]
    found = {point.measure: point for point in of_audit(HEAD, cases, FACTORY)}
    assert found["positive_rate"].value == pytest.approx(200 / 400)
    assert found["sensitivity"].value == pytest.approx(0.9)
    assert found["specificity"].value == 1.0
    assert found["auc"].low <= found["auc"].value <= found["auc"].high
    assert found["calibration_gap"].low < found["calibration_gap"].value < found["calibration_gap"].high
    assert of_audit(HEAD, [], FACTORY) == []


def test_audits_that_had_a_part_in_the_package_do_not_judge_it() -> None:
    def figures(cases: list[LabelledCase]) -> dict[str, int]:
        return {point.measure: point.cases for point in of_audit(HEAD, cases, MADE_HERE)}

    old = {
        fold: [case(100 * number + n, n % 2 == 0, fold=fold, arrived_at=NOW - DAY) for n in range(10)]
        for number, fold in enumerate(("calibration", "thresholds", "gate"))
    }
    assert figures(old["gate"]) == {"positive_rate": 10, "miss_rate": 5}
    assert figures(old["calibration"]) == {"positive_rate": 10, "auc": 10, "miss_rate": 5}
    assert "miss_rate" not in figures(old["thresholds"])
    since = [replace(one, arrived_at=NOW) for part in old.values() for one in part]
    assert figures(since) == {
        "positive_rate": 30,
        "sensitivity": 15,
        "specificity": 15,
        "calibration_gap": 30,
        "auc": 30,
        "miss_rate": 15,
    }


def test_a_miss_is_what_is_ranked_low_by_the_border_of_its_group_and_inside_of_the_domain() -> None:
    own = (GroupThresholds(name="A", low=0.1, positives=50, negatives=9),)
    basis = Basis(
        0.0, replace_model(FACTORY.thresholds, Groups(by=Grouping.STATION, borders=own)), Grouping.STATION
    )
    cases = [
        case(1, True, -3.0, station="A"),
        case(2, True, -3.0, station="B"),  # has no border
        replace(case(3, True, -3.0, station="A"), ood=1.5),
        case(4, True, 3.0, station="A"),
    ]
    found = {point.measure: point for point in of_audit(HEAD, cases, basis)}
    assert found["miss_rate"].value == pytest.approx(0.25)


def test_who_has_trained_judges_nothing_and_a_merged_patient_has_one_fold() -> None:
    cases = [case(1, True), case(2, True), case(3, True)]
    found = audits_of(cases, "pneumonia", {"p1": "train", "p2": "gate"})
    assert {one.patient_key: one.fold for one in found} == {"p2": "gate", "p3": "thresholds"}


def test_the_interval_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(8)
    covered = 0
    for _ in range(2000):
        pi = np.where(random.uniform(size=120) < 0.5, 0.1, 0.2)
        _, low, high = share_interval(random.uniform(size=120) < 0.1, pi)
        covered += low <= 0.1 <= high
    assert covered / 2000 >= 0.935


def test_readers_who_disagree_are_counted() -> None:
    reads = [ReadBeside("pneumonia", n % 4 == 0, 0.8, shown=True) for n in range(40)]
    reads += [ReadBeside("pneumonia", n % 2 == 0, 0.8, shown=False) for n in range(40)]
    reads.append(ReadBeside("effusion", True, 0.1, shown=True))
    found = {point.measure: point for point in of_readers(HEAD, reads)}
    assert found["disagreement"].value == pytest.approx(0.75)
    assert found["disagreement"].cases == 40
    assert found["automation_bias"].value == pytest.approx(-0.25)
    assert of_readers(HEAD, []) == []
    blind = [ReadBeside("pneumonia", True, 0.8, shown=False)]
    assert of_readers(HEAD, blind) == []
