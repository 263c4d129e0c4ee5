"""Closed forms of the reading queue: QuCAD's figures, and what each must be in its limits."""

import numpy as np
import pytest

from orthanc_al.methods.queueing import (
    Discipline,
    FindingPoint,
    Load,
    class_delays,
    class_probabilities,
    erlang_c,
    fifo_delay,
    mg1_class_delays,
    savings,
)

ONE = Load(arrival_rate=0.08, reading_time=10.0)
TWO = Load(arrival_rate=0.16, reading_time=10.0, readers=2)
FINDING = FindingPoint("pneumonia", prevalence=0.1, sensitivity=0.9, specificity=0.9)


@pytest.mark.parametrize(
    ("load", "discipline", "fifo", "diseased", "others"),
    [
        (ONE, Discipline.NON_PREEMPTIVE, 40.0, 26.916, -2.991),
        (ONE, Discipline.PREEMPTIVE, 40.0, 33.645, -3.738),
        (TWO, Discipline.NON_PREEMPTIVE, 17.778, 11.963, -1.329),
        (TWO, Discipline.PREEMPTIVE, 17.778, 15.424, -1.714),
    ],
)
def test_the_reference_figures_of_one_finding(load, discipline, fifo, diseased, others):
    saved = {one.group: one for one in savings(load, [FINDING], discipline)}
    assert saved["pneumonia"].before == pytest.approx(fifo, abs=5e-4)
    assert saved["pneumonia"].saved == pytest.approx(diseased, abs=5e-4)
    assert saved["others"].saved == pytest.approx(others, abs=5e-4)


@pytest.mark.parametrize("discipline", Discipline)
@pytest.mark.parametrize("load", [ONE, TWO, Load(0.25, 10.0, 3)])
def test_what_one_class_wins_the_others_lose(load, discipline):
    """Equal reading times: work is conserved, the mean delay of all stays that of arrival order."""
    shares = np.array([0.1, 0.3, 0.6])
    assert shares @ class_delays(load, shares, discipline) == pytest.approx(fifo_delay(load))


def test_a_single_class_is_order_of_arrival():
    for discipline in Discipline:
        assert class_delays(TWO, [1.0], discipline)[0] == pytest.approx(fifo_delay(TWO))


def test_on_one_server_the_two_ways_agree():
    shares = np.array([0.2, 0.8])
    rates = shares * ONE.arrival_rate
    for discipline in Discipline:
        general = mg1_class_delays(rates, [10.0, 10.0], [200.0, 200.0], discipline)
        assert general == pytest.approx(class_delays(ONE, shares, discipline))


def test_constant_reading_times_halve_the_wait():
    exponential = mg1_class_delays([0.08], [10.0], [200.0], Discipline.FIFO)
    assert mg1_class_delays([0.08], [10.0], [100.0], Discipline.FIFO) == pytest.approx(exponential / 2)


def test_an_empty_class_has_the_delay_of_its_first_study():
    for discipline in (Discipline.NON_PREEMPTIVE, Discipline.PREEMPTIVE):
        empty = class_delays(ONE, [0.0, 1.0], discipline)
        tiny = class_delays(ONE, [1e-9, 1.0 - 1e-9], discipline)
        assert empty == pytest.approx(tiny, rel=1e-3, abs=1e-4)


def test_with_many_readers_nobody_waits_and_erlang_does_not_overflow():
    assert erlang_c(Load(100.0, 10.0, 2000)) == pytest.approx(0.0, abs=1e-12)
    assert erlang_c(Load(1.9, 1.0, 2)) == pytest.approx(2 * 0.95**2 / 1.95)


def test_the_first_flag_in_the_hierarchy_decides():
    findings = [FindingPoint("a", 0.1, 0.8, 0.9), FindingPoint("b", 0.2, 0.7, 0.95)]
    given = class_probabilities(findings)
    assert given.sum(1) == pytest.approx(1.0)
    assert given[0] == pytest.approx([0.8, 0.2 * 0.05, 0.2 * 0.95])
    assert given[1] == pytest.approx([0.1, 0.9 * 0.7, 0.9 * 0.3])
    merged = class_probabilities(findings, hierarchical=False)
    assert merged[:, 0] == pytest.approx(given[:, :2].sum(1))


def test_a_finding_without_a_model_is_delayed_and_told():
    """multi-QuCAD's point: who is not looked for pays, however urgent."""
    findings = [FINDING, FindingPoint("unseen", 0.05, sensitivity=0.0, specificity=1.0)]
    unseen = savings(ONE, findings, Discipline.PREEMPTIVE)[1]
    assert unseen.group == "unseen"
    assert unseen.saved < -3.0


def test_hierarchy_saves_the_first_more_than_one_class_for_all_flags():
    findings = [FINDING, FindingPoint("second", 0.2, 0.9, 0.9)]
    first = savings(ONE, findings, Discipline.NON_PREEMPTIVE)[0].saved
    assert first > savings(ONE, findings, Discipline.NON_PREEMPTIVE, hierarchical=False)[0].saved


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: fifo_delay(Load(0.1, 10.0)),
        lambda: class_delays(Load(0.2, 10.0), [0.5, 0.5], Discipline.PREEMPTIVE),
        lambda: mg1_class_delays([0.1], [10.0], [200.0], Discipline.FIFO),
        lambda: Load(0.0, 10.0),
        lambda: Load(0.1, 10.0, readers=0),
        lambda: class_delays(ONE, [0.5, 0.6], Discipline.FIFO),
        lambda: class_delays(ONE, [], Discipline.FIFO),
        lambda: FindingPoint("x", 0.1, 1.1, 0.9),
        lambda: class_probabilities([FindingPoint("x", 0.6, 0.9, 0.9), FindingPoint("y", 0.6, 0.9, 0.9)]),
    ],
)
def test_what_has_no_answer_is_told(wrong):
    with pytest.raises(ValueError):
        wrong()
