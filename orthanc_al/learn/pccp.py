"""The plan of changes: what may change without a new release, and by how much (``config/pccp.toml``).

Its idea is the FDA's (Marketing submission recommendations for a predetermined change control plan,
December 2024); no compliance is claimed.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orthanc_al.errors import ConfigurationError
from orthanc_al.ledger.response import ResponseRule
from orthanc_al.ledger.shadow import ShadowRule

_DAY: Final = 86400.0

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Change(_Table):
    """What may change; the whole network only where ``retrain --finetune`` or ``learn.finetune`` asks."""

    may: tuple[Literal["head", "calibrator", "thresholds", "network"], ...] = (
        "head",
        "calibrator",
        "thresholds",
        "network",
    )


class Labels(_Table):
    """What the training labels of a finding must be like."""

    min_positives: Count = 5
    min_negatives: Count = 5
    min_prevalence: Share = 0.01
    max_prevalence: Share = 0.9
    max_audit_overlap: Share = 0.2

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_prevalence >= self.max_prevalence:
            raise ValueError("min_prevalence is below max_prevalence")
        return self


class Counts(_Table):
    """How many audit labels of the fold ``gate`` a judgement takes."""

    min_positives: Annotated[int, Field(ge=2)] = 20
    min_negatives: Annotated[int, Field(ge=2)] = 40


class Gate(_Table):
    """The margins.

    Attributes
    ----------
    confidence
        Of each one-sided bound.
    reference_auc
        The margin in AUC is the reach of a one-sided bound about this area on as many cases as the test
        has: .025 for 100 positives and 900 negatives.
    sensitivity_margin
        Most that the lower bound of the difference in sensitivity may lie below 0.
    calibration_margin
        Most that the negative log likelihood may be worse, in nats a case.
    max_flipped_negatives
        Share of the negatives that may rise from below the operating threshold to above it.
    subgroup_min
        Cases of each class from which a subgroup is judged.
    resamples
        Of the bootstrap over patients.
    parity
        Largest difference between a logit by ONNX Runtime and by the fitted head, relative above 1.
    """

    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    reference_auc: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    sensitivity_margin: Share = 0.05
    calibration_margin: Annotated[float, Field(ge=0.0)] = 0.02
    max_flipped_negatives: Share = 0.1
    subgroup_min: Annotated[int, Field(ge=2)] = 10
    resamples: Annotated[int, Field(ge=100)] = 2000
    parity: Annotated[float, Field(gt=0.0)] = 1e-5


class Audit(_Table):
    """When audits that give no label take the low tier away: they are not missing at random."""

    unread_after_days: Annotated[float, Field(gt=0.0)] = 7.0
    max_unread_share: Share = 0.2

    @property
    def rule(self) -> ResponseRule:
        """As triage asks it, study by study."""
        return ResponseRule(self.unread_after_days * _DAY, self.max_unread_share)


class Shadow(_Table):
    """A candidate's time in shadow.

    Attributes
    ----------
    min_studies, min_hours
        What it must have scored beside the champion, and how old it must be, before it may go live. Both 0:
        there is no shadow.
    min_agreement
        Share of these studies that must lie on the same side of both operating thresholds. 0: agreement is
        told and decides nothing, since the audit has judged who is right.
    max_days
        How long it is waited for before a newer candidate may take its place.
    """

    min_studies: Annotated[int, Field(ge=0)] = 50
    min_hours: Annotated[float, Field(ge=0.0)] = 12.0
    min_agreement: Share = 0.0
    max_days: Annotated[float, Field(gt=0.0)] = 14.0

    @property
    def rule(self) -> ShadowRule:
        """As promotion asks it."""
        return ShadowRule(self.min_studies, self.min_hours, self.min_agreement)


class Watch(_Table):
    """The charts of the champion's audits: when they take it back.

    Attributes
    ----------
    odds
        How many times the odds of a wrong answer have risen when the charts are to tell.
    run_length
        Mean number of audited cases of a kind between two false alarms of its chart.
    min_cases
        Audits from before the promotion that the accepted rate is taken from.
    """

    odds: Annotated[float, Field(gt=1.0)] = 2.0
    run_length: Annotated[float, Field(ge=1.0)] = 500.0
    min_cases: Count = 20


class Plan(_Table):
    """The whole file."""

    change: Change = Change()
    labels: Labels = Labels()
    test: Counts = Counts()
    gate: Gate = Gate()
    audit: Audit = Audit()
    shadow: Shadow = Shadow()
    watch: Watch = Watch()


def load_plan(path: Path | None) -> Plan:
    """Read and check a plan; None gives the built-in one.

    Raises
    ------
    ConfigurationError
        It is absent, no TOML, or has faults, all of which are told with their keys.
    """
    if path is None:
        return Plan()
    try:
        return Plan.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigurationError(f"There is no plan of changes {path} (learn.pccp).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is no TOML file: {error}") from error
    except ValidationError as error:
        faults = [
            f"  {'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()
        ]
        raise ConfigurationError("\n".join([f"The plan of changes {path} has faults:", *faults])) from error
