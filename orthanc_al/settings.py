"""The configuration: TOML < environment < secrets folder, checked as a whole, then frozen.

Unknown keys are errors, all faults are told at once with their keys, and relative paths belong to the
folder of the configuration file. ``config/orthanc-al.toml`` has every key with its comment.
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from orthanc_al.errors import ConfigurationError

Role = Literal["source", "destination", "results"]
AETitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[ -\[\]-~]*$")]  # PS3.5 6.2: AE
Port = Annotated[int, Field(ge=1, le=65535)]
Share = Annotated[float, Field(gt=0, lt=1)]
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
    tls: Literal[False] = False


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


class Storage(_Section):
    """Where things are kept."""

    ledger: str = "sqlite:///var/ledger.sqlite"
    spool: Path = Path("var/spool")
    models: Path = Path("var/models")
    training_cache: Path = Path("var/training")
    min_free_gb: Annotated[float, Field(ge=0)] = 5
    keep_days: Annotated[float, Field(ge=0)] = 7


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
    watch: bool = False
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
    picture: Literal["off"] = "off"


class Learn(_Section):
    """When a new model is made, and who lets it go live."""

    cron: str = "0 2 * * *"
    promotion: Literal["manual", "automatic"] = "manual"
    pccp: Path | None = None

    @field_validator("cron")
    @classmethod
    def _is_a_crontab(cls, value: str) -> str:
        if value and len(value.split()) != 5:
            raise ValueError("five fields as in crontab, or empty to turn the clock off")
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
        except (ValueError, OSError) as error:
            raise ValueError(f"no time zone named {value!r} (e.g. Europe/Zurich)") from error
        return value


class Log(_Section):
    """What is written to the standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    json_lines: bool = False


class Settings(BaseSettings):
    """All of it. Environment: ``ORTHANC_AL_DICOM__PORT=...``; secrets: one file a key (``web__password``)."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="ORTHANC_AL_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )
    _toml: ClassVar[Path | None] = None
    _secrets: ClassVar[Path | None] = None

    dicom: Dicom = Dicom()
    storage: Storage = Storage()
    archive: Archive = Archive()
    orthanc: Orthanc = Orthanc()
    models: tuple[Model, ...] = ()
    inference: Inference = Inference()
    assemble: Assemble = Assemble()
    triage: Triage = Triage()
    review: Review = Review()
    report: Report = Report()
    learn: Learn = Learn()
    web: Web = Web()
    site: Site = Site()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the sources into order: what is said first here wins."""
        del dotenv_settings
        sources: list[PydanticBaseSettingsSource] = [init_settings]
        if cls._secrets is not None:
            sources.append(
                NestedSecretsSettingsSource(
                    file_secret_settings,
                    secrets_dir=cls._secrets,
                    secrets_nested_delimiter="__",
                    env_prefix="",
                )
            )
        sources.append(env_settings)
        if cls._toml is not None:
            sources.append(TomlConfigSettingsSource(settings_cls, cls._toml))
        return tuple(sources)


def load(path: Path | None = None, secrets: Path | None = None, **overrides: Any) -> Settings:
    """Read, check and freeze the configuration.

    Parameters
    ----------
    path
        TOML file; None for the defaults and the environment alone.
    secrets
        Folder with one file a secret; ``ORTHANC_AL_SECRETS`` where None.
    **overrides
        Whole sections that win over all sources.

    Raises
    ------
    ConfigurationError
        Names every fault with its key.
    """
    if path is not None and not path.is_file():
        raise ConfigurationError(f"There is no configuration file {path}.")
    folder = secrets or (
        Path(os.environ["ORTHANC_AL_SECRETS"]) if "ORTHANC_AL_SECRETS" in os.environ else None
    )

    class _Here(Settings):
        _toml = path
        _secrets = folder

    try:
        settings = _Here(**overrides)
    except ValidationError as error:
        raise ConfigurationError(_faults(error, path)) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    base = path.parent.resolve() if path is not None else Path.cwd()
    return _resolved(settings, base)


def _faults(error: ValidationError, path: Path | None) -> str:
    lines = [f"The configuration ({path or 'defaults and environment'}) has {error.error_count()} fault(s):"]
    for fault in error.errors(include_url=False, include_input=False):
        key = ".".join(str(part) for part in fault["loc"]) or "(as a whole)"
        text = "no such key" if fault["type"] == "extra_forbidden" else fault["msg"]
        lines.append(f"  {key}: {text}")
    return "\n".join(lines)


def _resolved(settings: Settings, base: Path) -> Settings:
    """Return the settings with all paths absolute."""
    storage = settings.storage
    url = storage.ledger
    if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
        url = f"sqlite:///{base / url.removeprefix('sqlite:///')}"
    places = {
        "storage": storage.model_copy(
            update={
                "ledger": url,
                **{name: base / getattr(storage, name) for name in ("spool", "models", "training_cache")},
            }
        ),
        "archive": settings.archive.model_copy(update={"folder": base / settings.archive.folder}),
        "models": tuple(m.model_copy(update={"package": base / m.package}) for m in settings.models),
    }
    if settings.learn.pccp is not None:
        places["learn"] = settings.learn.model_copy(update={"pccp": base / settings.learn.pccp})
    return settings.model_copy(update=places)
