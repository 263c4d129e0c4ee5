"""The rules of selection without a ledger."""

from dataclasses import replace

import numpy as np
import pytest

from orthanc_al.methods.acquisition import TopRisk
from orthanc_al.select import rules
from orthanc_al.select.days_end import ask_at_days_end
from orthanc_al.select.rules import Case, Channel, Known

NOTHING = np.empty((0, 0))


def cases(count: int, seed: int = 0, prefix: str = "1") -> list[Case]:
    random = np.random.default_rng(seed)
    return [Case(f"{prefix}.{n}", (float(p),), 0.5) for n, p in enumerate(random.beta(0.4, 2.0, size=count))]


def test_few_positives_reserve_a_share_for_risk_and_many_do_not() -> None:
    assert [(c.strategy.name, c.share) for c in rules.channels(0.5, Known(0, weak=False))] == [
        ("power_margin", pytest.approx(0.45)),
        ("top_risk", pytest.approx(0.05)),
    ]
    assert [c.strategy.name for c in rules.channels(0.5, Known(20, weak=False))] == ["power_margin"]


def test_a_weak_head_chooses_at_random_until_there_are_positives_to_learn_from() -> None:
    assert [c.strategy.name for c in rules.channels(0.5, Known(9, weak=True))] == ["random"]
    assert "random" not in [c.strategy.name for c in rules.channels(0.5, Known(10, weak=True))]


@pytest.mark.parametrize(
    ("budget", "fraction", "expected", "pi", "share"),
    [(20, 0.2, 100, 0.04, 16 / 96), (20, 0.2, 10, 0.4, 1.0), (0, 0.2, 100, 0.0, 0.0), (5, 1.0, 5, 1.0, 0.0)],
)
def test_the_share_spends_what_audits_leave(
    budget: int, fraction: float, expected: float, pi: float, share: float
) -> None:
    assert rules.query_share(budget, fraction, expected, pi) == pytest.approx(share)


def test_a_day_s_flags_equal_the_budget_in_expectation() -> None:
    stream = cases(6000)
    plan = rules.channels(0.1, Known(0, weak=False))
    asked = [
        rules.ask_on_arrival(stream[n], stream[n - 400 : n], plan, "seed") for n in range(400, len(stream), 7)
    ]
    share = np.mean([query is not None for query in asked])
    assert share == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / len(asked)))


def test_the_weight_is_the_frequency_with_which_the_case_is_asked() -> None:
    peers = cases(300)
    case = Case("x", (0.3,), 0.5)
    plan = rules.channels(0.2, Known(20, weak=False))
    answers = [rules.ask_on_arrival(case, peers, plan, f"seed {n}") for n in range(600)]
    weights = [query.weight for query in answers if query is not None]
    # Peers' noise changes with the seed as well, so the weights themselves scatter a little.
    assert np.mean([query is not None for query in answers]) == pytest.approx(np.mean(weights), abs=0.06)


def test_what_no_label_would_teach_is_never_asked_nor_a_peer() -> None:
    junk = Case("junk", (0.5,), rules.GROSS + 0.1)
    plan = (Channel(TopRisk(), 0.5),)
    assert rules.ask_on_arrival(junk, cases(50), plan, "s") is None
    assert rules.ask_on_arrival(Case("x", (0.99,), 0.1), [junk] * 50, plan, "s") is None
    assert ask_at_days_end([junk], 5, Known(0, weak=False), "s", "day", NOTHING) == []


def test_doubt_and_risk_look_at_the_finding_that_speaks_most_for_asking() -> None:
    case = Case("x", (0.9, 0.45, 0.1), 0.5)
    assert case.probability_for(TopRisk()) == 0.9
    assert case.probability_for(rules.PowerMargin()) == 0.45


def pooled(count: int, seed: int = 0, *, findings: int = 1, **how: object) -> list[Case]:
    random = np.random.default_rng(seed)
    return [
        Case(f"9.{n}", tuple(random.beta(0.4, 2.0, findings)), 0.5, tuple(random.standard_normal(4)), **how)
        for n in range(count)
    ]


def test_the_day_s_end_takes_as_many_as_are_left_each_once_with_its_chance() -> None:
    pool = pooled(200)
    asked = ask_at_days_end(pool, 20, Known(0, weak=False), "s", "day", NOTHING)
    assert len({query.study_instance_uid for query in asked}) == 20
    assert [query.strategy for query in asked].count("top_risk") == 2
    assert all(0.0 < query.weight <= 1.0 for query in asked)
    assert ask_at_days_end(pool, 20, Known(0, weak=False), "s", "day", NOTHING) == asked
    assert ask_at_days_end(pool, 20, Known(0, weak=False), "s", "another day", NOTHING) != asked
    many = ask_at_days_end(pool, 20, Known(20, weak=False), "s", "day", NOTHING)
    assert {query.strategy for query in many} == {"diverse_power_margin"}


def test_a_weak_head_leaves_the_day_s_end_to_chance() -> None:
    asked = ask_at_days_end(pooled(50), 5, Known(0, weak=True), "s", "day", NOTHING)
    assert {query.strategy for query in asked} == {"random"}
    # Each is above the best one left out with chance 1 - u of that one: about 45 of 50 are left out.
    assert {round(query.weight, 9) for query in asked} == {round(asked[0].weight, 9)}
    assert 0.02 < asked[0].weight < 0.3


def test_a_small_pool_is_asked_whole_and_surely() -> None:
    asked = ask_at_days_end(pooled(3), 20, Known(20, weak=False), "s", "day", NOTHING)
    assert [query.weight for query in asked] == [1.0, 1.0, 1.0]


def test_an_empty_pool_asks_nothing() -> None:
    assert ask_at_days_end([], 2, Known(0, weak=False), "s", "d", NOTHING) == []
    assert ask_at_days_end(pooled(3), 0, Known(0, weak=False), "s", "d", NOTHING) == []


def test_a_film_that_was_sent_twice_is_asked_once_and_one_that_was_asked_not_again() -> None:
    one, other, asked_before = pooled(3)
    again = replace(one, study_instance_uid="8.1", probabilities=(0.5,))
    known = np.array([asked_before.embedding])
    asked = ask_at_days_end([one, again, other, asked_before], 4, Known(20, weak=False), "s", "d", known)
    assert sorted(query.study_instance_uid for query in asked) == ["9.0", "9.1"]


def test_an_embedding_of_another_length_is_not_compared() -> None:
    short = replace(pooled(1)[0], study_instance_uid="8.1", embedding=(1.0, 2.0))
    asked = ask_at_days_end([*pooled(3), short], 4, Known(20, weak=False), "s", "d", NOTHING)
    assert "8.1" not in {query.study_instance_uid for query in asked}


def test_one_scanner_does_not_have_the_whole_day_s_end() -> None:
    sure = [replace(case, probabilities=(0.01,), scanner="b") for case in pooled(20, 1)]
    unsure = [
        replace(case, study_instance_uid=f"a{n}", probabilities=(0.5,), scanner="a")
        for n, case in enumerate(pooled(20, 2))
    ]
    asked = ask_at_days_end([*sure, *unsure], 6, Known(20, weak=False), "s", "d", NOTHING)
    assert sum(query.study_instance_uid.startswith("a") for query in asked) <= 6
    pool = [replace(case, scanner="ab"[n % 2]) for n, case in enumerate(pooled(40, 3))]
    scanner = {case.study_instance_uid: case.scanner for case in pool}
    asked = ask_at_days_end(pool, 6, Known(20, weak=False), "s", "d", NOTHING)
    assert [scanner[query.study_instance_uid] for query in asked].count("a") == 3


def test_risk_looks_at_the_likeliest_of_several_findings() -> None:
    pool = [replace(case, probabilities=(0.45, 0.1)) for case in pooled(10)]
    pool[4] = replace(pool[4], probabilities=(0.02, 0.97))
    (risky, *_) = ask_at_days_end(pool, 6, Known(0, weak=False), "s", "d", NOTHING)
    assert (risky.study_instance_uid, risky.score) == (pool[4].study_instance_uid, 0.97)


def test_a_head_is_weak_only_where_the_audit_shows_it() -> None:
    random = np.random.default_rng(0)
    present = [bool(n % 4 == 0) for n in range(200)]
    noise = random.normal(size=200)
    assert rules.is_weak(noise.tolist(), present)
    assert not rules.is_weak((noise + 3.0 * np.array(present)).tolist(), present)
    assert not rules.is_weak([0.1, 0.2, 0.3], [True, False, False])  # it can't tell
    assert not rules.is_weak([], [])


def test_the_pool_s_digest_depends_on_what_is_in_it_and_not_on_the_order() -> None:
    pool = cases(20)
    assert rules.digest(pool) == rules.digest(pool[::-1])
    assert rules.digest(pool) != rules.digest(pool[1:])
