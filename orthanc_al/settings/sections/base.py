"""What all sections share."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=1, le=65535)]
Share = Annotated[float, Field(gt=0, lt=1)]
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Section(BaseModel):
    """A section: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
