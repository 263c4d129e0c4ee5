"""The sections of the configuration: each key with its type, its default and what it must hold."""

from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

Role = Literal["source", "destination", "results"]
AETitle = Annotated[
    str, Field(min_length=1, max_length=16, pattern=r"^ *[!-\[\]-~][ -\[\]-~]*$")
]  # PS3.5 6.2
Port = Annotated[int, Field(ge=1, le=65535)]
Share = Annotated[float, Field(gt=0, lt=1)]


def _only_off(value: object) -> object:
    """Refuse a switch whose on-position this version does not have: it must not be ignored in silence."""
    if value not in (False, "off"):
        raise ValueError("this version can't do that yet; leave it off")
    return value


Off = Annotated[Literal[False], BeforeValidator(_only_off)]
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Peer(_Section):
    """A DICOM peer: may send to us (source), gets every study (destination), gets our reports (results)."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    ae_title: AETitle
    host: str
    port: Port
    roles: tuple[Role, ...]
    tls: Off = False


class Dicom(_Section):
    """The listener, and the peers around it."""

    ae_title: AETitle = "ORTHANC_AL"
    host: str = "127.0.0.1"
    port: Port = 11112
    accept: Literal["listed", "observe", "any"] = "listed"
    max_associations: Annotated[int, Field(ge=1, le=1000)] = 64
    peers: tuple[Peer, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [peer.name for peer in self.peers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two peers have the name {', '.join(twice)}: deliveries are kept by name")
        return self

    @model_validator(mode="after")
    def _sends_nothing_to_itself(self) -> Self:
        everywhere = self.host in {*LOOPBACK, "0.0.0.0"}  # noqa: S104 - compared, not bound
        for peer in self.peers:
            here = peer.host == self.host or (everywhere and peer.host in LOOPBACK)
            if here and peer.port == self.port and set(peer.roles) & {"destination", "results"}:
                raise ValueError(f"peer {peer.name} is our own listener: all studies would go in a circle")
        return self


class Storage(_Section):
    """Where things are kept."""

    ledger: str = "sqlite:///var/ledger.sqlite"
    spool: Path = Path("var/spool")
    models: Path = Path("var/models")
    training_cache: Path = Path("var/training")
    min_free_gb: Annotated[float, Field(ge=0)] = 5
    keep_days: Annotated[float, Field(ge=0)] = 7

    @field_validator("ledger")
    @classmethod
    def _is_a_database(cls, value: str) -> str:
        if not value.startswith(("sqlite:///", "postgresql:", "postgresql+")):
            raise ValueError('a URL like "sqlite:///var/ledger.sqlite" or "postgresql://host/name"')
        return value


class Archive(_Section):
    """A small archive of our own, for where no PACS is configured (the demo)."""

    enabled: bool = False
    folder: Path = Path("var/archive")
    port: Port = 11113


class Orthanc(_Section):
    """Orthanc's REST API; an empty ``url`` means that there is none."""

    url: str = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    watch: Off = False
    mirror: bool = True


class Model(_Section):
    """A model package and the studies it is for."""

    package: Path
    modality: tuple[str, ...] = ("CR", "DX")
    body_part: tuple[str, ...] = ()


class Inference(_Section):
    """Where the model runs."""

    require_gpu: bool = False
    threads: Annotated[int, Field(ge=1)] = 2


class Assemble(_Section):
    """When a study counts as complete without better evidence: seconds of quiet, by modality."""

    quiet_seconds: dict[str, Annotated[float, Field(gt=0)]] = {"default": 30, "CR": 5, "DX": 5}

    @field_validator("quiet_seconds")
    @classmethod
    def _has_a_default(cls, value: dict[str, float]) -> dict[str, float]:
        return {"default": 30.0, **value}


class TargetMinutes(_Section):
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


class Triage(_Section):
    """The guarantee, and the target times."""

    miss_rate: Share = 0.05
    false_alarm_rate: Share = 0.10
    delta: Share = 0.10
    target_minutes: TargetMinutes = TargetMinutes()


class Review(_Section):
    """What is asked of the radiologist, and whom we believe."""

    budget_per_day: Annotated[int, Field(ge=0)] = 20
    audit_fraction: Annotated[float, Field(ge=0, le=1)] = 0.2
    expected_per_day: Annotated[float, Field(ge=0)] = 0
    trust_labels: bool = False
    trust_unnamed: bool = False


class Report(_Section):
    """What is sent to the peers with the role ``results``."""

    sr: Literal["all", "review"] = "all"
    picture: Annotated[Literal["off"], BeforeValidator(_only_off)] = "off"


class Learn(_Section):
    """When a new model is made, and who lets it go live."""

    cron: str = "0 2 * * *"
    promotion: Literal["manual", "automatic"] = "manual"
    pccp: Path | None = None

    @field_validator("cron")
    @classmethod
    def _is_a_crontab(cls, value: str) -> str:
        if value:
            try:
                CronTrigger.from_crontab(value)
            except ValueError as error:
                raise ValueError(
                    f"no crontab of five fields, as in '0 2 * * *', or empty to turn it off ({error})"
                ) from error
        return value


class Web(_Section):
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


class Site(_Section):
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


class Log(_Section):
    """What is written to the standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    json_lines: bool = False
