"""The page, the site and the log."""

from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator, model_validator

from orthanc_al.settings.sections.base import LOOPBACK, Port, Section

Origin = Annotated[str, Field(pattern=r"^https?://[^/\s]+$")]
_LINKS: Final = ("http://", "https://", "weasis://")  # no script can hide in one of these


class User(Section):
    """Somebody, or a program, with a password of her own for page and API."""

    password: SecretStr
    name: str = ""  # value representation PN; what reads are signed with
    program: bool = False  # says with each request whom it speaks for

    @model_validator(mode="after")
    def _is_somebody(self) -> Self:
        if bool(self.name.strip("^ ")) == self.program:
            raise ValueError('give name = "Family^Given", or program = true, and not both')
        if not self.password.get_secret_value():
            raise ValueError("the password is empty")
        return self


class Web(Section):
    """The worklist page and the API."""

    host: str = "127.0.0.1"
    port: Port = 8080
    password: SecretStr = SecretStr("")
    users: dict[str, User] = Field(default_factory=dict)
    viewer: str = ""  # link template with {study_instance_uid}, {accession_number}, {orthanc_id}
    viewers: dict[str, str] = Field(default_factory=dict)  # more of them, by the words on their links
    viewer_origins: tuple[Origin, ...] = ()  # whose pages may ask the API: a viewer's toolbar

    @model_validator(mode="after")
    def _is_guarded(self) -> Self:
        if self.users and self.password.get_secret_value():
            raise ValueError("users and password are both set: keep one of them")
        if self.host not in LOOPBACK and not self.password.get_secret_value() and not self.users:
            raise ValueError(
                f"host is {self.host}, which others can reach: put a password into the file "
                "web__password of the secrets folder, or set host to 127.0.0.1"
            )
        return self

    @field_validator("viewer")
    @classmethod
    def _is_a_link(cls, value: str) -> str:
        if value and not value.startswith(_LINKS):
            raise ValueError(f"a link that begins with {', '.join(_LINKS)}")
        return value

    @field_validator("viewers")
    @classmethod
    def _are_links(cls, value: dict[str, str]) -> dict[str, str]:
        for template in value.values():
            cls._is_a_link(template)
        return value


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
