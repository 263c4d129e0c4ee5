"""What the monitor looks at: the live package, samples of studies, and the audited cases that count."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from sqlalchemy import Connection

from orthanc_al.domain import Grouping, group_of
from orthanc_al.inference.head_swap import read_head
from orthanc_al.inference.package import ModelPackage, load_package
from orthanc_al.ledger import lineage, models
from orthanc_al.ledger.learning import LabelledCase
from orthanc_al.ledger.monitoring import Scored
from orthanc_al.ledger.selections import AUDIT
from orthanc_al.monitor.watch import Head, Sample

_MOST_STUDIES: Final = 2000
_TRAINS: Final = "train"


@dataclass(frozen=True, slots=True)
class Live:
    """The live package, as far as the monitor needs it.

    Attributes
    ----------
    made_at
        Seconds since 1970; what arrived before may have had a part in it. 0 for a factory's: nothing had.
    """

    package: ModelPackage
    heads: tuple[Head, ...]
    family: frozenset[str]
    retrained: bool
    made_at: float


@dataclass(frozen=True, slots=True)
class Reference:
    """What a day is compared with; while it is not complete, nothing is."""

    studies: Sample
    complete: bool


def live_package(connection: Connection, name: str, by: Grouping) -> Live:
    """Return the live package of a model.

    Parameters
    ----------
    by
        What makes the groups in each of which the site asks for the guarantee.

    Raises
    ------
    ModelError
        No package of that name is live.
    PackageRefusedError
        It does not hold.
    """
    champion = models.live(connection, name)
    package = load_package(champion.folder)
    family = lineage.family(connection, champion.ref.digest)
    fitted = lineage.fitted(connection, champion.ref.digest)
    retrained = fitted.origin != "factory"
    return Live(package, heads_of(package, by), family, retrained, fitted.created_at if retrained else 0.0)


def heads_of(package: ModelPackage, by: Grouping) -> tuple[Head, ...]:
    """Return the findings of a package in the order of its logits."""
    weight, bias = read_head(package.contents.model)
    return tuple(
        Head(
            name=entry.name,
            weight=weight[:, number].astype(np.float64),
            bias=float(bias[number]),
            slope=entry.calibrator.slope,
            offset=entry.calibrator.offset,
            thresholds=entry.thresholds,
            by=by,
        )
        for number, entry in enumerate(package.manifest.findings)
    )


def sample(studies: list[Scored], by: Grouping) -> Sample:
    """Return studies as the tests take them; of very many, 2,000 taken evenly."""
    if len(studies) > _MOST_STUDIES:
        kept = np.linspace(0, len(studies) - 1, _MOST_STUDIES).astype(np.int64)
        studies = [studies[number] for number in kept]
    return Sample(
        np.array([one.embedding for one in studies], np.float64),
        np.array([one.ood for one in studies]),
        tuple(group_of(by, one.attributes) for one in studies),
    )


def audits_of(cases: list[LabelledCase], finding: str, folds: Mapping[str, str]) -> list[LabelledCase]:
    """Return the blind audited cases of a finding in the order of arrival, of each patient the first.

    Parameters
    ----------
    folds
        What patients serve for, by key: who has trained judges nothing, and who was merged has one fold.
    """
    own = sorted(
        (case for case in cases if case.finding == finding and case.kind == AUDIT and not case.ai_shown),
        key=lambda case: (case.arrived_at, case.study_instance_uid),
    )
    first: dict[str, LabelledCase] = {}
    for case in own:
        fold = folds.get(case.patient_key, case.fold)
        if fold != _TRAINS:
            first.setdefault(case.patient_key, replace(case, fold=fold))
    return list(first.values())
