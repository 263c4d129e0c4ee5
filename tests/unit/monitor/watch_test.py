"""Drift: how soon it is told, and how often chance is told for drift; measured by simulation."""

import numpy as np
import pytest

from orthanc_al.domain import Grouping
from orthanc_al.inference.thresholds import Groups, GroupThresholds, Thresholds
from orthanc_al.monitor.watch import (
    Head,
    Sample,
    embeddings,
    outside,
    positive_rate,
    positive_scores,
    scores,
)

DIMENSIONS = 16
ALPHA = 0.001
A_DAY = 40
HEAD = Head(
    "pneumonia", np.eye(DIMENSIONS)[0] * 3, -2.5, 1.0, 0.0, Thresholds(operating=0.5, high=0.7, low=0.05)
)


def day(
    random: np.random.Generator,
    count: int = A_DAY,
    *,
    moved: float = 0.0,
    prevalence: float = 0.1,
    wider: float = 1.0,
) -> Sample:
    """Studies of a day; ``moved`` shifts what tells no classes apart, ``prevalence`` the finding."""
    rows = random.normal(0.0, wider, size=(count, DIMENSIONS))
    rows[:, 1] += moved
    rows[random.uniform(size=count) < prevalence, 0] += 2.0
    return Sample(rows, np.sqrt((rows**2).sum(1)) / np.sqrt(DIMENSIONS + 4 * np.sqrt(2 * DIMENSIONS)))


REFERENCE = day(np.random.default_rng(22), 600)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(23)


def told(today: Sample) -> set[str]:
    points = [*embeddings(REFERENCE, today, ALPHA), *scores(HEAD, REFERENCE, today, ALPHA)]
    return {point.measure for point in points if point.alarm}


def test_quiet_days_have_few_false_alarms(random: np.random.Generator) -> None:
    """100 days like the reference: five tests a day at alpha = .001 call chance drift on half of one."""
    false = [bool(told(day(random))) for _ in range(100)]
    assert sum(false) <= 2


@pytest.mark.parametrize(
    ("drift", "seen_by", "days"),
    [
        ({"moved": 1.0}, "embedding_energy", 2.0),
        ({"wider": 1.25}, "embedding_mahalanobis", 2.0),
        ({"prevalence": 0.5}, "score_ks", 3.0),
    ],
)
def test_the_delay_until_a_drift_is_told(
    random: np.random.Generator, drift: dict[str, float], seen_by: str, days: float
) -> None:
    """The mean number of days of 40 studies until its own test tells, over 12 drifts of each kind."""
    delays = []
    for _ in range(12):
        delay = 1
        while seen_by not in told(day(random, **drift)):
            delay += 1
            assert delay < 30
        delays.append(delay)
    assert np.mean(delays) <= days


def test_embeddings_do_not_see_a_change_of_prevalence_and_scores_do(random: np.random.Generator) -> None:
    """A week of 280 studies with four times the prevalence, ten times over."""
    found = [told(day(random, 7 * A_DAY, prevalence=0.4)) for _ in range(10)]
    assert sum("embedding_mahalanobis" in one for one in found) <= 5
    assert sum(bool(one & {"score_ks", "score_psi", "prediction_mix"}) for one in found) == 10


def test_before_there_is_a_reference_the_training_s_domain_is_watched(random: np.random.Generator) -> None:
    inside, far = day(random), day(random, wider=2.0)
    assert not outside(inside, ALPHA).alarm
    alarm = outside(far, ALPHA)
    assert alarm.alarm
    assert "outside of the model's domain" in alarm.reason


def test_an_embedding_that_is_no_number_is_outside_and_stops_nothing(random: np.random.Generator) -> None:
    today = day(random)
    today.embeddings[:3] = np.nan
    today.ood[:3] = np.inf
    assert outside(today, ALPHA).value >= 3 / A_DAY
    points = [*embeddings(REFERENCE, today, ALPHA), *scores(HEAD, REFERENCE, today, ALPHA)]
    assert np.isfinite([point.value for point in points]).all()


def test_a_rise_and_a_fall_of_the_audit_s_positive_rate() -> None:
    quiet = [number % 10 == 0 for number in range(300)]
    assert not any(point.alarm for point in positive_rate("pneumonia", quiet, 100, ALPHA))
    rise = quiet[:100] + [number % 3 == 0 for number in range(100)]
    assert [p.measure for p in positive_rate("pneumonia", rise, 60, ALPHA) if p.alarm] == ["audit_rate_rise"]
    fall = [number % 3 == 0 for number in range(100)] + [False] * 60
    (alarm,) = [p for p in positive_rate("pneumonia", fall, 60, ALPHA) if p.alarm]
    assert alarm.measure == "audit_rate_fall"
    assert "0 of the last 60 audited studies have pneumonia" in alarm.reason
    assert positive_rate("pneumonia", quiet[:100], 10, ALPHA) == []
    assert positive_rate("pneumonia", [], 1, ALPHA) == []
    common = [number % 2 == 0 for number in range(160)]
    assert [p.measure for p in positive_rate("pneumonia", common, 60, ALPHA)] == ["audit_rate_fall"]
    never = [False] * 160
    assert not any(p.alarm for p in positive_rate("pneumonia", never, 60, ALPHA))


def test_the_chart_of_the_audit_tells_a_doubled_rate_in_time_and_seldom_else() -> None:
    """At 8 audits a day: quiet for 125 days in four sites of five, a trebled rate told within five weeks."""
    draw = np.random.default_rng(5)

    def first_alarm(rate: float, most: int) -> int:
        events = (draw.uniform(size=100) < 0.1).tolist()
        for n in range(10, most, 10):
            events += (draw.uniform(size=10) < rate).tolist()
            rise = positive_rate("x", events, 50, 0.0)[0]
            if rise.alarm:
                return n
        return most

    assert np.mean([first_alarm(0.1, 1000) >= 1000 for _ in range(10)]) >= 0.8
    assert np.mean([first_alarm(0.3, 1000) for _ in range(10)]) <= 280


def test_positives_that_score_otherwise_put_the_guarantee_in_doubt(random: np.random.Generator) -> None:
    old, same, other = (random.normal(size=(40, DIMENSIONS)) + shift for shift in (0.0, 0.0, 2.5))
    assert not positive_scores(HEAD, old, same, ALPHA)[0].alarm
    (alarm,) = positive_scores(HEAD, old, other, ALPHA)
    assert alarm.alarm
    assert "guarantee does not hold" in alarm.reason
    assert positive_scores(HEAD, old[:5], other, ALPHA) == []
    assert positive_scores(HEAD, np.empty(0), np.empty(0), ALPHA) == []


def test_the_mix_of_tiers_is_by_the_borders_of_each_study_s_group() -> None:
    """A group without audits of its own has no low tier, whatever the borders of all studies are."""
    room = GroupThresholds(name="ROOM 1", high=0.9, low=0.3, positives=40, negatives=200)
    thresholds = Thresholds(
        operating=0.5, high=0.7, low=0.05, groups=Groups(by=Grouping.STATION, borders=(room,))
    )
    head = Head("pneumonia", np.ones(1), 0.0, 1.0, 0.0, thresholds, Grouping.STATION)
    p = np.array([0.2, 0.8, 0.95, 0.01, 0.8, 0.95])
    groups = np.array(["ROOM 1"] * 3 + ["ROOM 2"] * 3)
    assert head.tiers(p, groups).tolist() == [1, 2, 3]
    logits = np.log(p / (1 - p))[:, None].repeat(20, axis=0)
    mixed = Sample(logits, np.zeros(120), tuple(groups.repeat(20)))
    point = next(one for one in scores(head, mixed, mixed, ALPHA) if one.measure == "prediction_mix")
    assert point.reason.startswith("17% low, 33% review, 50% high")
