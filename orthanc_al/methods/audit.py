"""The random audit: a share of all studies, drawn without a look at their score.

Who is drawn depends on a secret seed and the Study Instance UID alone, so a draw can be repeated and
checked years later, and its propensity pi is known exactly (Horvitz & Thompson, JASA 47:663, 1952).
"""

import hashlib
from typing import Final

FOLDS: Final = (("calibration", 0.2), ("thresholds", 0.4), ("gate", 0.4))
"""What audit labels are for, and the share of patients for each: no label serves two ends."""

_PRIOR_DAYS: Final = 1.0
_PRIOR_STUDIES: Final = 100.0


def uniform(seed: str, *parts: str) -> float:
    """Return the number in (0, 1) that always belongs to ``seed`` and ``parts``; 53 bits of SHA-256.

    Parameters
    ----------
    seed
        The site's secret.
    *parts
        What is drawn for, and for whom: ``"audit"``, Study Instance UID. Different parts give
        independent numbers.
    """
    digest = hashlib.sha256("\x1f".join((seed, *parts)).encode()).digest()
    return ((int.from_bytes(digest[:8], "big") >> 12) + 0.5) / 2**52


def fingerprint(seed: str) -> str:
    """Return what names a seed in a record without giving it away: whoever has the seed knows all draws."""
    return hashlib.sha256(seed.encode()).hexdigest()[:16]


def expected_per_day(studies: int, days: float) -> float:
    """Return the expected number of eligible studies a day, from a count.

    A day of 100 studies is added to what was counted, so that a service in its first hours draws
    neither all nor none.

    Parameters
    ----------
    studies
        How many there were.
    days
        In how many days, 0 or more; fractions count.
    """
    return (studies + _PRIOR_STUDIES) / (days + _PRIOR_DAYS)


def propensity(budget_per_day: float, audit_fraction: float, expected: float) -> float:
    """Return pi = audit_fraction * budget / expected, at most 1: each study's probability of being drawn.

    Parameters
    ----------
    budget_per_day
        Studies that the radiologist may be asked about in a day, audits included.
    audit_fraction
        Share of the budget that is for audits, in [0, 1].
    expected
        Eligible studies expected in a day.
    """
    wanted = audit_fraction * budget_per_day
    if wanted <= 0.0:
        return 0.0
    return min(1.0, wanted / expected) if expected > 0.0 else 1.0


def is_drawn(seed: str, study_instance_uid: str, pi: float) -> bool:
    """Whether a study is audited, which happens with probability ``pi`` and depends on no score."""
    return uniform(seed, "audit", study_instance_uid) < pi


def fold_of(seed: str, patient_key: str) -> str:
    """Return the audit fold of a patient: all of her studies serve the same end."""
    u = uniform(seed, "fold", patient_key)
    upper = 0.0
    for name, share in FOLDS[:-1]:
        upper += share
        if u < upper:
            return name
    return FOLDS[-1][0]
