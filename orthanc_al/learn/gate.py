"""The gate: whether a candidate is better than what is live, on cases that nobody chose.

Pure: arrays in, a judgement with all of its figures out. Every check must hold (docs/learning.md).
"""

from collections.abc import Iterator

import numpy as np
from scipy.stats import norm

from orthanc_al.learn.judgement import Check, GateCases, Judgement, Training, Verdict
from orthanc_al.learn.pccp import Plan
from orthanc_al.methods.bootstrap import by_patient
from orthanc_al.methods.calibration import negative_log_likelihood
from orthanc_al.methods.delong import AucDifference, compare, expected_error


def judge(training: Training, test: GateCases, plan: Plan) -> Judgement:
    """Return the judgement of one finding's candidate.

    Data checks come first, then counts: figures of a test set that is too small are not even computed,
    since whoever sees them will believe them.
    """
    checks = list(_data_checks(training, test, plan))
    if all(one.passed for one in checks):
        checks += _counts(training, test, plan)
    if all(one.passed for one in checks):
        margin = float(norm.ppf(plan.gate.confidence)) * expected_error(
            plan.gate.reference_auc, test.positives, test.negatives
        )
        checks.append(_better(training, test, plan, margin))
        checks.append(_above_anchor(test, plan, margin))
        checks.append(_sensitivity(test, plan))
        checks.append(_calibration(test, plan))
        checks += _subgroups(test, plan, margin)
        checks.append(_flips(test, plan))
    failed = [one.verdict for one in checks if not one.passed]
    for worst in (Verdict.REFUSED, Verdict.NOT_ENOUGH, Verdict.NOT_BETTER):
        if worst in failed:
            return Judgement(worst, tuple(checks))
    return Judgement(Verdict.BETTER, tuple(checks))


def _data_checks(training: Training, test: GateCases, plan: Plan) -> Iterator[Check]:
    """Check (f): the labels are fit to be learned from, and no patient is on both sides."""
    shared = training.patients & set(test.patients)
    yield Check(
        "patients apart",
        not shared,
        f"{len(shared)} patients are in training and test",
        {"patients": len(shared)},
        Verdict.REFUSED,
    )
    yield Check(
        "audits usable",
        training.audit_overlap <= plan.labels.max_audit_overlap,
        f"{training.audit_overlap:.1%} of audited cases are of patients trained on before "
        f"(at most {plan.labels.max_audit_overlap:.0%})",
        {"share": training.audit_overlap},
        Verdict.REFUSED,
    )
    labels = plan.labels
    if (
        training.new_head
        and training.positives >= labels.min_positives
        and training.negatives >= labels.min_negatives
    ):
        prevalence = training.positives / (training.positives + training.negatives)
        yield Check(
            "prevalence",
            labels.min_prevalence <= prevalence <= labels.max_prevalence,
            f"{prevalence:.1%} of the training labels are positive "
            f"({labels.min_prevalence:.0%} to {labels.max_prevalence:.0%})",
            {"prevalence": prevalence},
            Verdict.REFUSED,
        )


def _counts(training: Training, test: GateCases, plan: Plan) -> Iterator[Check]:
    if training.new_head:
        labels = plan.labels
        yield _at_least(
            "training labels",
            training.positives,
            training.negatives,
            labels.min_positives,
            labels.min_negatives,
        )
    yield _at_least(
        "audit labels to judge by",
        test.positives,
        test.negatives,
        plan.test.min_positives,
        plan.test.min_negatives,
    )


def _at_least(name: str, positives: int, negatives: int, least_positives: int, least_negatives: int) -> Check:
    return Check(
        name,
        positives >= least_positives and negatives >= least_negatives,
        f"{positives} positive and {negatives} negative (at least {least_positives} and {least_negatives})",
        {"positives": positives, "negatives": negatives},
        Verdict.NOT_ENOUGH,
    )


def _better(training: Training, test: GateCases, plan: Plan, margin: float) -> Check:
    """Check (a): AUC above the champion's; where the head stays, not below it."""
    against = compare(test.candidate.logits, test.champion.logits, test.labels, plan.gate.confidence)
    bar = 0.0 if training.new_head else -margin
    return _auc_test("AUC against the champion", against, bar, strict=training.new_head)


def _above_anchor(test: GateCases, plan: Plan, margin: float) -> Check:
    """Check (a): AUC never below the factory's: else it could creep down over the nights."""
    against = compare(test.candidate.logits, test.anchor.logits, test.labels, plan.gate.confidence)
    return _auc_test("AUC against the factory", against, -margin, strict=True)


def _auc_test(name: str, against: AucDifference, bar: float, *, strict: bool) -> Check:
    passed = against.lower > bar if strict else against.lower >= bar
    return Check(
        name,
        passed,
        f"{against.new:.4f} against {against.old:.4f}; difference {against.difference:+.4f}, "
        f"one-sided {against.level:.0%} bound {against.lower:+.4f} (above {bar:+.4f})",
        {"new": against.new, "old": against.old, "lower": against.lower, "upper": against.upper, "bar": bar},
    )


def _sensitivity(test: GateCases, plan: Plan) -> Check:
    """Check (b): sensitivity at the operating threshold, by a paired bootstrap over patients."""
    positive = test.labels == 1
    new, old = test.candidate.flagged[positive], test.champion.flagged[positive]
    gain = new.astype(np.float64) - old
    patients = [patient for patient, own in zip(test.patients, positive, strict=True) if own]
    resampled = by_patient(lambda rows: float(gain[rows].mean()), patients, resamples=plan.gate.resamples)
    lower = float(np.quantile(resampled, 1.0 - plan.gate.confidence))
    bar = -plan.gate.sensitivity_margin
    return Check(
        "sensitivity",
        lower >= bar,
        f"{new.mean():.3f} against {old.mean():.3f}; one-sided bound of the difference {lower:+.3f} "
        f"(at least {bar:+.3f})",
        {"new": float(new.mean()), "old": float(old.mean()), "lower": lower, "bar": bar},
    )


def _calibration(test: GateCases, plan: Plan) -> Check:
    """Check (c): the negative log likelihood does not grow by more than its margin."""
    new = negative_log_likelihood(test.candidate.probabilities, test.labels)
    old = negative_log_likelihood(test.champion.probabilities, test.labels)
    bar = plan.gate.calibration_margin
    return Check(
        "calibration",
        new - old <= bar,
        f"negative log likelihood {new:.4f} against {old:.4f} (at most {bar:+.3f} nats)",
        {"new": new, "old": old, "bar": bar},
    )


def _subgroups(test: GateCases, plan: Plan, margin: float) -> Iterator[Check]:
    """Check (d): no subgroup's AUC falls by more than two margins."""
    for kind, members in sorted(test.subgroups.items()):
        for name in sorted(set(members) - {""}):
            rows = np.array([member == name for member in members])
            labels = test.labels[rows]
            if min(labels.sum(), (1 - labels).sum()) < plan.gate.subgroup_min:
                continue
            against = compare(
                test.candidate.logits[rows], test.champion.logits[rows], labels, plan.gate.confidence
            )
            yield Check(
                f"{kind} {name}",
                against.difference >= -2.0 * margin,
                f"AUC {against.new:.4f} against {against.old:.4f} on {labels.size} cases "
                f"(at least {-2.0 * margin:+.4f})",
                {"new": against.new, "old": against.old, "n": int(labels.size), "bar": -2.0 * margin},
            )


def _flips(test: GateCases, plan: Plan) -> Check:
    """Check (e): few negatives that were rightly below the operating threshold rise above it."""
    right = (test.labels == 0) & ~test.champion.flagged
    flipped = int((right & test.candidate.flagged).sum())
    share = flipped / test.negatives
    bar = plan.gate.max_flipped_negatives
    return Check(
        "flipped negatives",
        share <= bar,
        f"{flipped} of {test.negatives} negatives rise above the operating threshold (at most {bar:.0%})",
        {"share": share, "bar": bar},
    )
