"""The page, the site and the log."""

from typing import Literal, Self
from zoneinfo import ZoneInfo

from pydantic import SecretStr, field_validator, model_validator

from orthanc_al.settings.sections.base import LOOPBACK, Port, Section


class Web(Section):
    """The worklist page and the API."""

    host: str = "127.0.0.1"
    port: Port = 8080
    password: SecretStr = SecretStr("")
    viewer: str = ""  # link template with {study_instance_uid}, {accession_number}, {orthanc_id}

    @model_validator(mode="after")
    def _is_guarded(self) -> Self:
        if self.host not in LOOPBACK and not self.password.get_secret_value():
            raise ValueError(
                f"host is {self.host}, which others can reach: put a password into the file "
                "web__password of the secrets folder, or set host to 127.0.0.1"
            )
        return self


class Site(Section):
    """The hospital."""

    name: str = ""
    timezone: str = "UTC"

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"no time zone named {value!r} (e.g. Europe/Zurich)") from error
        return value


class Log(Section):
    """What is written to the standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    json_lines: bool = False
