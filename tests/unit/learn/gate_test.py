"""The gate: each check can stop a candidate, and what holds in all of them goes through."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from orthanc_al.learn.gate import judge
from orthanc_al.learn.judgement import GateCases, Judgement, Scores, Training, Verdict
from orthanc_al.learn.pccp import Plan

PLAN = Plan()
TRAINING = Training(40, 60, frozenset({"trained"}), 0.0, new_head=True)


def scores(logits: np.ndarray, operating: float = 0.5) -> Scores:
    return Scores(logits, expit(logits), operating)


def cases(gain: float = 1.5, positives: int = 100, negatives: int = 300, seed: int = 0) -> GateCases:
    """A candidate that parts the classes by ``gain`` more than the champion does."""
    random = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [positives, negatives])
    noise, sign = random.normal(size=labels.size), 2 * labels - 1
    old = noise + 0.7 * sign
    new = noise + (0.7 + gain) * sign
    n = labels.size
    return GateCases(
        labels=labels,
        patients=tuple(f"p{i}" for i in range(n)),
        candidate=scores(new),
        champion=scores(old),
        anchor=scores(old),
        subgroups={"sex": tuple("FM"[i % 2] for i in range(n)), "scanner": ("",) * n},
    )


def failed(judgement: Judgement) -> list[str]:
    return [check.name for check in judgement.failed]


def test_a_better_candidate_passes_every_check() -> None:
    judgement = judge(TRAINING, cases(), PLAN)
    assert judgement.verdict is Verdict.BETTER
    assert failed(judgement) == []
    assert [check.name for check in judgement.checks] == [
        "patients apart",
        "audits usable",
        "prevalence",
        "training labels",
        "audit labels to judge by",
        "AUC against the champion",
        "AUC against the factory",
        "sensitivity",
        "calibration",
        "sex F",
        "sex M",
        "flipped negatives",
    ]


def test_the_champion_itself_is_not_better() -> None:
    judgement = judge(TRAINING, cases(gain=0.0), PLAN)
    assert judgement.verdict is Verdict.NOT_BETTER
    assert failed(judgement) == ["AUC against the champion"]


def test_where_the_head_stays_being_no_worse_is_enough() -> None:
    assert judge(replace(TRAINING, new_head=False), cases(gain=0.0), PLAN).verdict is Verdict.BETTER


def test_a_candidate_below_the_factory_does_not_pass_however_weak_the_champion() -> None:
    good = cases(gain=0.4)
    strong = replace(good, anchor=scores(good.candidate.logits + 3.0 * (2 * good.labels - 1)))
    assert failed(judge(TRAINING, strong, PLAN)) == ["AUC against the factory"]


def test_lost_sensitivity_stops_a_better_ranking() -> None:
    test = cases()
    deaf = replace(test, candidate=replace(test.candidate, operating=0.97))
    assert "sensitivity" in failed(judge(TRAINING, deaf, PLAN))


def test_worse_calibration_stops_a_better_ranking() -> None:
    test = cases()
    bold = replace(test, candidate=replace(test.candidate, probabilities=np.full(400, 0.999), operating=0.5))
    assert "calibration" in failed(judge(TRAINING, bold, PLAN))


def test_many_new_false_alarms_stop_a_better_ranking() -> None:
    test = cases()
    loud = replace(test, candidate=replace(test.candidate, operating=0.01))
    assert "flipped negatives" in failed(judge(TRAINING, loud, PLAN))


def test_a_subgroup_that_loses_stops_the_rest() -> None:
    test = cases(gain=2.5)
    women = np.array([sex == "F" for sex in test.subgroups["sex"]])
    logits = np.where(women, -test.champion.logits, test.candidate.logits)
    harmed = replace(test, candidate=scores(logits))
    assert "sex F" in failed(judge(TRAINING, harmed, PLAN))
    assert "sex M" not in failed(judge(TRAINING, harmed, PLAN))


def test_a_subgroup_too_small_to_judge_is_not_judged() -> None:
    test = replace(cases(), subgroups={"scanner": ("rare",) * 5 + ("common",) * 395})
    names = [check.name for check in judge(TRAINING, test, PLAN).checks]
    assert "scanner common" in names
    assert "scanner rare" not in names


@pytest.mark.parametrize(
    ("training", "test", "name"),
    [
        (lambda t: replace(t, patients=frozenset({"p7"})), lambda c: c, "patients apart"),
        (lambda t: replace(t, audit_overlap=0.5), lambda c: c, "audits usable"),
        (lambda t: replace(t, positives=95, negatives=5), lambda c: c, "prevalence"),
        (lambda t: replace(t, positives=5, negatives=995), lambda c: c, "prevalence"),
    ],
)
def test_unfit_data_are_refused_before_any_figure_is_computed(
    training: Callable[[Training], Training], test: Callable[[GateCases], GateCases], name: str
) -> None:
    judgement = judge(training(TRAINING), test(cases()), PLAN)
    assert judgement.verdict is Verdict.REFUSED
    assert failed(judgement) == [name]
    assert not any("AUC" in check.name for check in judgement.checks)


@pytest.mark.parametrize(
    ("training", "test"),
    [
        (replace(TRAINING, positives=4), cases()),
        (replace(TRAINING, positives=0, negatives=50), cases()),
        (replace(TRAINING, positives=0, negatives=0), cases()),
        (TRAINING, cases(positives=19)),
        (TRAINING, cases(negatives=39)),
    ],
)
def test_too_few_labels_are_not_enough_whatever_the_figures_would_be(
    training: Training, test: GateCases
) -> None:
    judgement = judge(training, test, PLAN)
    assert judgement.verdict is Verdict.NOT_ENOUGH
    assert not any("AUC" in check.name for check in judgement.checks)


def test_an_empty_test_set_is_not_enough() -> None:
    assert judge(TRAINING, cases(positives=0, negatives=0), PLAN).verdict is Verdict.NOT_ENOUGH


def test_chance_lets_few_equal_candidates_through() -> None:
    """Candidates whose head is no better than the champion's: at most the share that the bounds allow."""
    through = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        test = cases(gain=0.0, positives=40, negatives=120, seed=seed)
        noisy = test.champion.logits + random.normal(scale=0.5, size=160)
        other = test.champion.logits + random.normal(scale=0.5, size=160)
        equal = replace(test, candidate=scores(noisy), champion=scores(other), anchor=scores(other))
        through += judge(TRAINING, equal, Plan.model_validate({"gate": {"resamples": 100}})).verdict is (
            Verdict.BETTER
        )
    assert through <= 18  # 5 % expected, standard error 1.5 %


def test_every_figure_is_told() -> None:
    for check in judge(TRAINING, cases(), PLAN).checks:
        assert check.text
        assert all(np.isfinite(value) for value in check.figures.values())
