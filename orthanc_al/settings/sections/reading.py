"""The order, the budget, what is sent, and what is learned."""

from pathlib import Path
from typing import Annotated, Literal, Self

from apscheduler.triggers.cron import CronTrigger
from pydantic import AfterValidator, Field, model_validator

from orthanc_al.domain import Grouping
from orthanc_al.settings.sections.base import Section, Share


def _is_a_crontab(value: str) -> str:
    if value:
        try:
            CronTrigger.from_crontab(value)
        except ValueError as error:
            raise ValueError(
                f"no crontab of five fields, as in '0 2 * * *', or empty to turn it off ({error})"
            ) from error
    return value


Crontab = Annotated[str, AfterValidator(_is_a_crontab)]


class TargetMinutes(Section):
    """Target time from arrival to read, for each tier."""

    high: Annotated[float, Field(gt=0)] = 15
    review: Annotated[float, Field(gt=0)] = 60
    none: Annotated[float, Field(gt=0)] = 240
    low: Annotated[float, Field(gt=0)] = 480

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.high <= self.review <= self.none <= self.low:
            raise ValueError("target times must not fall from high over review and none to low")
        return self


class Triage(Section):
    """The guarantee, and the target times."""

    miss_rate: Share = 0.05
    false_alarm_rate: Share = 0.10
    delta: Share = 0.10
    groups: Grouping = Grouping.NONE
    target_minutes: TargetMinutes = TargetMinutes()


class Review(Section):
    """What is asked of the radiologist, and whom we believe."""

    budget_per_day: Annotated[int, Field(ge=0)] = 20
    audit_fraction: Annotated[float, Field(ge=0, le=1)] = 0.2
    expected_per_day: Annotated[float, Field(ge=0)] = 0
    spend_rest_at: Annotated[str, Field(pattern=r"^(([01]\d|2[0-3]):[0-5]\d)?$")] = "22:00"
    trust_labels: bool = False
    trust_unnamed: bool = False


class Report(Section):
    """What is sent to the peers with the role ``results``."""

    sr: Literal["all", "review"] = "all"
    picture: Literal["off", "review", "all"] = "off"


class Monitor(Section):
    """When what the model is used on is looked at, and how."""

    cron: Crontab = "15 0 * * *"
    reference_days: Annotated[int, Field(ge=1)] = 28
    window_days: Annotated[int, Field(ge=1)] = 90
    alpha: Annotated[float, Field(ge=0.0005, lt=1)] = 0.001


class Learn(Section):
    """When a new model is made, and who lets it go live."""

    cron: Crontab = "0 2 * * *"
    promotion: Literal["manual", "automatic"] = "manual"
    pccp: Path | None = None
    shown_weight: Annotated[float, Field(ge=0, le=1)] = 1.0
    finetune: bool = False
    factory_data: Path | None = None
