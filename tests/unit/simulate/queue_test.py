"""The event simulator against the closed forms, and the read-by rule in its limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthanc_al.methods.queueing import Discipline, FindingPoint, Load, savings
from orthanc_al.simulate.answer import answer, estimate
from orthanc_al.simulate.queue import delays
from orthanc_al.simulate.room import (
    ObservedDays,
    ObservedReading,
    Rule,
    Traffic,
    by_operating_points,
    poisson,
)

FINDING = FindingPoint("pneumonia", 0.1, 0.9, 0.9)
RUNS, DAYS = 24, 40


@pytest.mark.parametrize("readers", [1, 2])
@pytest.mark.parametrize("rule", [Rule.NON_PREEMPTIVE, Rule.PREEMPTIVE])
def test_the_simulator_meets_the_closed_forms(readers: int, rule: Rule) -> None:
    """METHOD.md's bar: within 2 % or three standard errors, over at least 20 seeds."""
    traffic = poisson(0.08 * 1440 * readers, 10.0, readers)
    said = answer(traffic, by_operating_points([FINDING], 15, 60), rule, days=DAYS, runs=RUNS, seed=5)
    true = savings(Load(0.08 * readers, 10.0, readers), [FINDING], Discipline(rule.value))
    for one in true:
        line = said.line(one.group)
        for found, wanted in ((line.saved, one.saved), (line.before, one.before), (line.after, one.after)):
            three_errors = (found.high - found.low) / 2 / 2.069 * 3
            assert abs(found.value - wanted) <= max(0.02 * abs(wanted), three_errors)


def _day(seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    arrivals = np.sort(random.uniform(0, count * 11.0, count))
    return arrivals, random.exponential(10.0, count), random.integers(0, 3, count)


@given(st.integers(0, 10_000), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_equal_targets_are_order_of_arrival(seed: int, readers: int) -> None:
    arrivals, reading, tier = _day(seed)
    keys = Rule.READ_BY.keys(arrivals, tier, np.full(arrivals.size, 60.0))
    assert np.array_equal(
        delays(arrivals, reading, keys, readers), delays(arrivals, reading, np.zeros(arrivals.size), readers)
    )


@given(st.integers(0, 10_000), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_targets_far_apart_are_priority_classes(seed: int, readers: int) -> None:
    arrivals, reading, tier = _day(seed)
    keys = Rule.READ_BY.keys(arrivals, tier, tier * 1e7)
    assert np.array_equal(
        delays(arrivals, reading, keys, readers), delays(arrivals, reading, tier.astype(float), readers)
    )


@given(st.integers(0, 10_000), st.integers(1, 3), st.booleans())
@settings(max_examples=15, deadline=None)
def test_no_rule_leaves_a_reader_idle(seed: int, readers: int, preemptive: bool) -> None:
    """Equal reading times: whoever is first, the reads end at the same times, so the delays add up alike."""
    arrivals, _, tier = _day(seed, 150)
    reading = np.full(arrivals.size, 10.0)
    fifo = delays(arrivals, reading, np.zeros(arrivals.size), readers)
    by_class = delays(arrivals, reading, tier.astype(float), readers)
    assert np.sort(arrivals + fifo) == pytest.approx(np.sort(arrivals + by_class))
    if preemptive and readers == 1:
        put_back = delays(arrivals, reading, tier.astype(float), readers, preemptive=True)
        assert put_back.max() <= fifo.max() * 3 + 1000
        assert (put_back[tier == 0]).mean() <= by_class[tier == 0].mean() + 1e-9


def test_preemption_by_hand() -> None:
    """A 10-minute read is interrupted at minute 2 for 3 minutes, and taken up where it was left."""
    found = delays([0.0, 2.0, 4.0], [10.0, 3.0, 1.0], [1.0, 0.0, 1.0], 1, preemptive=True)
    assert found == pytest.approx([3.0, 0.0, 9.0])
    assert delays([0.0, 2.0, 4.0], [10.0, 3.0, 1.0], [1.0, 0.0, 1.0], 1) == pytest.approx([0.0, 8.0, 9.0])


def test_the_read_by_rule_lies_between_arrival_order_and_priority() -> None:
    traffic, population = poisson(115, 10.0), by_operating_points([FINDING], 15, 60)
    saved = {
        rule: answer(traffic, population, rule, days=30, runs=8).line("pneumonia").saved.value
        for rule in (Rule.FIFO, Rule.READ_BY, Rule.NON_PREEMPTIVE)
    }
    assert saved[Rule.FIFO] == 0.0
    assert 0.0 < saved[Rule.READ_BY] < saved[Rule.NON_PREEMPTIVE]


def test_the_answer_has_the_others_loss_the_tiers_and_the_hours() -> None:
    morning = np.sort(np.random.default_rng(3).uniform(8 * 60, 12 * 60, 40))
    traffic = Traffic(ObservedDays((morning, morning + 1.0)), ObservedReading(np.array([4.0, 8.0])))
    said = answer(traffic, by_operating_points([FINDING], 15, 60), Rule.READ_BY, days=10, runs=4)
    assert [line.who for line in said.groups] == ["pneumonia", "others", "all"]
    assert said.line("others").saved.value < 0.0 < said.line("pneumonia").saved.value
    assert [line.who for line in said.tiers] == ["flag pneumonia", "no flag"]
    busy = {line.who for line in said.hours["others"] if line.studies > 0}
    assert {"08", "09", "10", "11"} <= busy <= {"08", "09", "10", "11", "12"}
    assert np.isnan(said.hours["others"][3].saved.value)
    assert said.utilisation == pytest.approx(40 * 6 / 1440)
    assert 0.0 <= said.line("others").late_after.value <= 1.0


def test_the_same_seed_gives_the_same_answer() -> None:
    traffic, population = poisson(80, 10.0), by_operating_points([FINDING], 15, 60)
    first, second = (answer(traffic, population, Rule.READ_BY, days=3, runs=2, seed=9) for _ in range(2))
    assert first.groups == second.groups


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: delays([0.0, 1.0], [1.0], [0.0, 0.0], 1),
        lambda: delays([1.0, 0.0], [1.0, 1.0], [0.0, 0.0], 1),
        lambda: delays([0.0], [-1.0], [0.0], 1),
        lambda: delays([0.0], [1.0], [0.0], 0),
        lambda: answer(poisson(1e-9, 1.0), by_operating_points([FINDING], 1, 2), Rule.FIFO, days=1),
        lambda: answer(poisson(9, 1.0), by_operating_points([FINDING], 1, 2), Rule.FIFO, runs=1),
    ],
)
def test_what_can_not_be_simulated_is_told(wrong) -> None:
    with pytest.raises(ValueError):
        wrong()


def test_an_interval_of_few_runs() -> None:
    assert estimate(np.array([2.0])).low == -np.inf
    assert estimate(np.array([1.0, 3.0])).value == 2.0
    assert np.isnan(estimate(np.array([])).value)
