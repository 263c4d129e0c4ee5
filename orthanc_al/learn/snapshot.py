"""The data set of a night: which case may train, which may calibrate, which may judge."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orthanc_al.ledger.datasets import digest_of
from orthanc_al.ledger.learning import LabelledCase
from orthanc_al.ledger.response import Response
from orthanc_al.ledger.selections import AUDIT


class Role(StrEnum):
    """What a case is for: the folds of the audit, training, or nothing."""

    TRAIN = "train"
    CALIBRATION = "calibration"
    THRESHOLDS = "thresholds"
    GATE = "gate"
    LEFT_OUT = "left_out"


@dataclass(frozen=True, slots=True)
class Cases:
    """Labelled cases of one finding and one role.

    Attributes
    ----------
    embeddings
        float64, shape (n, d).
    labels
        0 or 1, shape (n,).
    ood
        Distance over the domain's limit, shape (n,).
    weights
        How much each counts in a fit, shape (n,): 1 but for reads made with a result in view.
    rows
        The cases themselves, length n.
    """

    embeddings: NDArray[np.float64]
    labels: NDArray[np.int64]
    ood: NDArray[np.float64]
    weights: NDArray[np.float64]
    rows: tuple[LabelledCase, ...]

    @property
    def positives(self) -> int:
        """How many have the finding."""
        return int(self.labels.sum())

    @property
    def negatives(self) -> int:
        """How many have it not."""
        return len(self.rows) - self.positives

    def where(self, chosen: NDArray[np.bool_]) -> "Cases":
        """Return those that are chosen, shape (n,)."""
        rows = tuple(row for row, is_chosen in zip(self.rows, chosen, strict=True) if is_chosen)
        return Cases(
            self.embeddings[chosen], self.labels[chosen], self.ood[chosen], self.weights[chosen], rows
        )


@dataclass(frozen=True)
class Snapshot:
    """All labelled cases of one backbone, each with its role.

    Attributes
    ----------
    anchor
        Digest of the factory package whose backbone gave the embeddings.
    cases
        Ordered by Study Instance UID and finding.
    roles
        One a case.
    folds
        Of each patient in it: what the ledger has to keep.
    response
        To the audits that were drawn long enough ago.
    answered
        Whether enough of them were read for a guarantee to rest on them.
    shown_weight
        How much a read counts in training that was made with a result in view, 0 to 1.
    faults
        Why cases were left out that no night can use, by study.
    """

    anchor: str
    cases: tuple[LabelledCase, ...]
    roles: tuple[Role, ...]
    folds: Mapping[str, str]
    response: Response
    answered: bool
    shown_weight: float = 1.0
    faults: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what is learned from, in canonical JSON."""
        return digest_of(self.content())

    def content(self) -> dict[str, Any]:
        """Return what the ledger keeps: every label, role and propensity, and embeddings by their digest."""
        return {
            "anchor": self.anchor,
            "answered": self.answered,
            "shown_weight": self.shown_weight,
            "cases": [_row(case, role) for case, role in zip(self.cases, self.roles, strict=True)],
        }

    def select(self, finding: str, role: Role) -> Cases:
        """Return the cases of one finding and role."""
        rows = tuple(
            case
            for case, own in zip(self.cases, self.roles, strict=True)
            if own is role and case.finding == finding
        )
        width = self.cases[0].embedding.size if self.cases else 0
        return Cases(
            embeddings=np.array([case.embedding for case in rows], np.float64).reshape(len(rows), width),
            labels=np.array([case.present for case in rows], np.int64),
            ood=np.array([case.ood for case in rows], np.float64),
            weights=np.array([self.shown_weight if case.ai_shown else 1.0 for case in rows], np.float64),
            rows=rows,
        )

    @property
    def audit_overlap(self) -> float:
        """Share of the audited cases that can judge nothing, since their patients were trained on before."""
        audits = [role for case, role in zip(self.cases, self.roles, strict=True) if case.kind == AUDIT]
        return audits.count(Role.TRAIN) / len(audits) if audits else 0.0


def build(
    anchor: str,
    cases: Iterable[LabelledCase],
    known_folds: Mapping[str, str],
    audited: Mapping[str, str],
    response: Response,
    max_unread_share: float,
    *,
    shown_weight: float = 1.0,
) -> Snapshot:
    """Give each case its role.

    A patient stays in the fold that she first had. One who has none yet is for the audit if a study of
    hers was ever drawn for it, and trains otherwise. Of a patient of the audit only a blind audited read
    counts, that of the study which came first: no patient may be in training and test, and several studies
    of one patient are not as many independent cases, which thresholds and gate take them for.

    Parameters
    ----------
    anchor
        Digest of the factory package.
    cases
        From `orthanc_al.ledger.learning.labelled_cases`.
    known_folds, audited
        By patient key: the fold that the ledger has, and the fold of her audits.
    response
        To the audits.
    max_unread_share
        Share of them that may be unread.
    shown_weight
        Of training reads made with a result in view; with 0 they are left out.

    A case whose embedding is not finite, or not of the length that most have, is left out and told in
    ``faults``: one damaged row must not cost a night.
    """
    ordered, faults = _usable(sorted(cases, key=lambda case: (case.study_instance_uid, case.finding)))
    folds = {
        case.patient_key: known_folds.get(case.patient_key) or audited.get(case.patient_key, Role.TRAIN.value)
        for case in ordered
    }
    firsts = _first_audits(ordered)
    roles = tuple(
        _role(
            folds[case.patient_key],
            first=case.study_instance_uid == firsts.get(_whose(case)),
            trains=shown_weight > 0.0 or not case.ai_shown,
        )
        for case in ordered
    )
    answered = response.within(max_unread_share)
    return Snapshot(anchor, ordered, roles, folds, response, answered, shown_weight, faults)


def _role(fold: str, *, first: bool, trains: bool) -> Role:
    if fold == Role.TRAIN:
        return Role.TRAIN if trains else Role.LEFT_OUT
    return Role(fold) if first else Role.LEFT_OUT


def _usable(cases: Iterable[LabelledCase]) -> tuple[tuple[LabelledCase, ...], tuple[str, ...]]:
    """Return the cases that can be learned from, and of each other one why not."""
    known = list(cases)
    lengths = Counter(case.embedding.size for case in known)
    length = max(lengths, key=lambda size: (lengths[size], -size), default=0)
    kept, faults = [], []
    for case in known:
        if case.embedding.size != length:
            faults.append(
                f"study {case.study_instance_uid}, {case.finding}: an embedding of length "
                f"{case.embedding.size}, the others have {length}"
            )
        elif not (np.isfinite(case.embedding).all() and np.isfinite(case.ood)):
            faults.append(f"study {case.study_instance_uid}, {case.finding}: an embedding that is not finite")
        else:
            kept.append(case)
    return tuple(kept), tuple(faults)


def _first_audits(cases: Iterable[LabelledCase]) -> dict[tuple[str, str], str]:
    """Return the study whose blind audited read counts, by patient and finding."""
    firsts: dict[tuple[str, str], str] = {}
    for case in sorted(cases, key=lambda case: (case.arrived_at, case.study_instance_uid)):
        if case.kind == AUDIT and not case.ai_shown:
            firsts.setdefault(_whose(case), case.study_instance_uid)
    return firsts


def _whose(case: LabelledCase) -> tuple[str, str]:
    return (case.patient_key, case.finding)


def _row(case: LabelledCase, role: Role) -> dict[str, Any]:
    return {
        "study": case.study_instance_uid,
        "finding": case.finding,
        "present": case.present,
        "kind": case.kind,
        "propensity": case.propensity,
        "role": role.value,
        "ai_shown": case.ai_shown,
        "ood": case.ood,
        "embedding": hashlib.sha256(np.ascontiguousarray(case.embedding, "<f4").tobytes()).hexdigest(),
    }
