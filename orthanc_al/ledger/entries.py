"""A line of the worklist, and what is asked for: plain values, as they may be shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orthanc_al.domain import StudyState, Tier


class Listed(StrEnum):
    """Which studies are listed: those that somebody still has to read, those read or expired, or both."""

    OPEN = "open"
    CLOSED = "closed"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Filter:
    """What a reader wants to see; empty fields let everything through.

    Attributes
    ----------
    text
        Part of a patient's name or ID, or of an accession number; case does not matter.
    tier
        The tier as shown: a blind study is found under ``none``.
    """

    modality: str = ""
    tier: Tier | None = None
    text: str = ""
    listed: Listed = Listed.OPEN


@dataclass(frozen=True, slots=True)
class Result:
    """What the model says of a study, as far as it may be shown.

    Attributes
    ----------
    probability
        Calibrated, in [0, 1].
    std
        Standard deviation of the logit.
    ood
        Distance from the model's domain; above 1 is outside.
    read_by
        Minutes since 1970 that this finding alone would give, None before triage.
    scored_at
        Seconds since 1970, UTC.
    """

    revision: int
    model_name: str
    model_version: str
    model_digest: str
    finding: str
    probability: float
    std: float
    ood: float
    tier: Tier
    why: str
    read_by: int | None
    images: int
    scored_at: float

    @property
    def outside_domain(self) -> bool:
        """Whether the model was not made for such an image."""
        return self.ood > 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the worklist.

    Attributes
    ----------
    state, tier, why
        As shown. Without a result ``why`` is the same for all studies of the same order priority.
    reason
        Why there is no score, where that is known.
    revision
        Counts the study's distinct instances: a read is of one revision.
    arrived_at, completed_at, closed_at
        Seconds since 1970, UTC.
    read_by
        Minutes since 1970, UTC.
    result
        The finding that decided the place; None where there is none, or none to be shown.
    asked
        Whether the radiologist is asked for a read of this study.
    """

    study_instance_uid: str
    patient_name: str
    patient_id: str
    birth_date: str
    sex: str
    accession_number: str
    description: str
    study_date: str
    modality: str
    body_part: str
    station: str
    state: StudyState
    reason: str
    revision: int
    priority: str
    arrived_at: float
    completed_at: float | None
    closed_at: float | None
    read_by: int
    tier: Tier
    why: str
    result: Result | None
    asked: bool
    orthanc_id: str


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the worklist.

    Attributes
    ----------
    total
        How many studies the filter lets through.
    tiers
        How many there are of each tier if the filter's own tier is left aside.
    """

    entries: Sequence[Entry]
    total: int
    offset: int
    tiers: Mapping[Tier, int]
