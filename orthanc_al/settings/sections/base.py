"""What all sections share."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Port = Annotated[int, Field(ge=1, le=65535)]
Share = Annotated[float, Field(gt=0, lt=1)]
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def only_off(value: object) -> object:
    """Refuse a switch whose on-position this version does not have: it must not be ignored in silence."""
    if value not in (False, "off"):
        raise ValueError("this version can't do that yet; leave it off")
    return value


Off = Annotated[Literal[False], BeforeValidator(only_off)]


class Section(BaseModel):
    """A section: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
