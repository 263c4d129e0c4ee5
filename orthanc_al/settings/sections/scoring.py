"""What is scored, with what, and when a study is complete."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from orthanc_al.settings.sections.base import Section


class Model(Section):
    """A model package and the studies it is for."""

    package: Path
    modality: tuple[str, ...] = ("CR", "DX")
    body_part: tuple[str, ...] = ()
    view: tuple[str, ...] = ()
    procedure: tuple[str, ...] = ()
    station: tuple[str, ...] = ()
    age: tuple[float, ...] = ()
    images: tuple[int, ...] = ()

    @field_validator("age", "images")
    @classmethod
    def _in_order(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if value and not (len(value) == 2 and 0 <= value[0] <= value[1]):
            raise ValueError("give the least and the most, e.g. [18, 120]")
        return value


class Inference(Section):
    """Where the model runs."""

    require_gpu: bool = False
    threads: Annotated[int, Field(ge=1)] = 2
    url: Annotated[str, Field(pattern=r"^(https?://[^\s/?#]+[^\s?#]*)?$")] = ""
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 5
    fallback: bool = True


class Assemble(Section):
    """When a study counts as complete without better evidence: seconds of quiet, by modality."""

    quiet_seconds: dict[str, Annotated[float, Field(gt=0)]] = Field(default={"default": 30, "CR": 5, "DX": 5})

    @field_validator("quiet_seconds")
    @classmethod
    def _has_a_default(cls, value: dict[str, float]) -> dict[str, float]:
        return {"default": 30.0, **value}
