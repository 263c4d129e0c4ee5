"""What the API answers: times as ISO 8601 with an offset, durations in seconds, probabilities in [0, 1]."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from orthanc_al.domain import ReadValue, StudyState, Tier


class ResultModel(BaseModel):
    """What one model says of a study about one finding, as far as it may be shown."""

    finding: str
    probability: float = Field(description="Calibrated.", ge=0, le=1)
    std: float = Field(description="Uncertainty: standard deviation of the logit.", ge=0)
    tier: Tier
    outside_domain: bool = Field(description="The model was not made for such an image.")
    ood: float = Field(description="Distance from the model's domain; above 1 is outside.")
    why: str
    model_name: str
    model_version: str
    model_digest: str
    revision: int = Field(description="Of the study: counts its distinct instances.")
    scored_at: datetime


class WorklistEntry(BaseModel):
    """A line of the worklist."""

    position: int = Field(description="1 is to be read first.", ge=1)
    study_instance_uid: str
    patient_name: str = Field(description="Value representation PN.")
    patient_id: str
    birth_date: str = Field(description="YYYYMMDD, or empty.")
    sex: str
    accession_number: str
    modality: str
    body_part: str
    description: str
    state: StudyState
    reason: str = Field(description="Why a study is not eligible.")
    revision: int = Field(description="Counts distinct instances: send it back with a read.")
    priority: str = Field(description="Of the order, where one is known.")
    arrived_at: datetime
    waiting_seconds: float = Field(ge=0)
    read_by: datetime
    tier: Tier
    why: str
    asked: bool = Field(description="A read of this study is asked for.")
    result: ResultModel | None


class WorklistPage(BaseModel):
    """A part of the worklist in reading order; ``total`` studies pass the filter."""

    total: int
    offset: int
    tiers: dict[Tier, int]
    studies: list[WorklistEntry]


class DeliveryModel(BaseModel):
    """An instance on its way to a destination."""

    destination: str
    state: str
    attempts: int
    done_at: datetime | None
    error: str
    transfer_syntax_uid: str = Field(description="Set where another than the original one was sent.")


class InstanceModel(BaseModel):
    """A receive event."""

    id: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    source: str
    origin: str
    kind: str
    reason: str
    size: int = Field(description="Bytes of the data set.")
    received_at: datetime
    deliveries: list[DeliveryModel]


class SelectionModel(BaseModel):
    """Why the study was drawn, and with what probability."""

    kind: str
    strategy: str
    propensity: float
    reason: str
    decided_at: datetime
    signed_at: datetime | None


class ReadModel(BaseModel):
    """A person's statement about a finding."""

    finding: str
    value: ReadValue
    source: str
    reader: str
    read_at: datetime
    state: str


class StudyModel(BaseModel):
    """All that may be shown of a study."""

    study: WorklistEntry
    instances: list[InstanceModel]
    results: list[ResultModel]
    selections: list[SelectionModel]
    reads: list[ReadModel]
    faults: list[str]


class MonitorPoint(BaseModel):
    """A figure that the monitor made of a day."""

    model_config = ConfigDict(from_attributes=True)
    measure: str
    finding: str
    part: str = Field(description="A group of studies, or `7 days`; empty for all, and for the day alone.")
    value: float
    low: float | None = Field(description="95 % interval.")
    high: float | None
    p_value: float | None
    cases: int
    alarm: bool
    reason: str


class MonitorDay(BaseModel):
    """What the monitor saw of a model on a day of the site."""

    model_name: str
    day: str
    points: list[MonitorPoint]


class RescoreModel(BaseModel):
    """A study will be scored again; ``jobs`` is 0 where it is still arriving, and will be scored then."""

    study_instance_uid: str
    jobs: int


class ModelVersion(BaseModel):
    """A model package."""

    name: str
    version: str
    digest: str
    origin: str
    state: str
    parent: str | None
    live: bool
    created_at: datetime


class ChangeRecord(BaseModel):
    """What the learner decided, and on what evidence."""

    id: int
    at: datetime
    model_name: str
    candidate: str | None
    champion: str
    dataset_digest: str | None
    verdict: str
    content: dict[str, Any]


class PromotionModel(BaseModel):
    """A change of the live version."""

    model_name: str
    digest: str
    previous: str | None
    kind: str
    approver: str
    reason: str
    at: datetime


class ModelsModel(BaseModel):
    """The registry."""

    models: list[ModelVersion]
    promotions: list[PromotionModel]
    change_records: list[ChangeRecord]


class DestinationModel(BaseModel):
    """What waits for a destination, what became of the rest, and why it is left alone where it is."""

    destination: str
    waiting: int
    sent: int
    committed: int
    refused: int
    cancelled: int
    oldest_waiting_seconds: float | None
    fault: str | None
    reason: str | None
    since: datetime | None


class PauseModel(BaseModel):
    """Whether scoring, and all that follows from it, is stopped. Forwarding goes on."""

    paused: bool


class ProcessState(BaseModel):
    """What is known of a process; ``silent_seconds`` is None where it has never been seen."""

    alive: bool
    silent_seconds: float | None = None
    pid: int | None = None
    restarts: int = 0
    detail: dict[str, Any] = Field(default_factory=dict)


class Readiness(BaseModel):
    """Whether the service does its work, with the reasons why not."""

    ready: bool
    reasons: list[str]
    processes: dict[str, ProcessState] = Field(default_factory=dict)
    paused: bool = False
    schema_revision: str = ""
    spool_free_bytes: int | None = None
    queue_lag_seconds: float = 0
    provider: str = Field(default="", description="Execution provider that the worker really uses.")
