"""Where the configuration comes from, and how its faults are told."""

import os
import tomllib
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from orthanc_al.errors import ConfigurationError
from orthanc_al.settings.sections import (
    Archive,
    Assemble,
    Dicom,
    Inference,
    Learn,
    Log,
    Model,
    Monitor,
    Orthanc,
    Receive,
    Report,
    Review,
    Site,
    Storage,
    Triage,
    Web,
)


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
    receive: Receive = Receive()
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
    monitor: Monitor = Monitor()
    web: Web = Web()
    site: Site = Site()
    log: Log = Log()

    @model_validator(mode="after")
    def _ports_are_apart(self) -> Self:
        ours = {"dicom.port": self.dicom.port, "web.port": self.web.port}
        if self.dicom.tls.port:
            ours["dicom.tls.port"] = self.dicom.tls.port
        if self.archive.enabled:
            ours["archive.port"] = self.archive.port
        keys = [key for key, port in ours.items() if list(ours.values()).count(port) > 1]
        if keys:
            raise ValueError(f"{' and '.join(keys)} are the same: each needs one of its own")
        return self

    @model_validator(mode="after")
    def _orthanc_is_a_peer(self) -> Self:
        names = [peer.name for peer in self.dicom.peers]
        if self.orthanc.peer and self.orthanc.peer not in names:
            raise ValueError(
                f"orthanc.peer: no peer is named {self.orthanc.peer!r}; "
                f"there are: {', '.join(names) or 'none'}"
            )
        return self

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

    if folder is not None and not folder.is_dir():
        raise ConfigurationError(f"The secrets folder {folder} is not there (ORTHANC_AL_SECRETS).")

    class _Here(Settings):
        _toml = path
        _secrets = folder

    try:
        settings = _Here(**overrides)
    except ValidationError as error:
        raise ConfigurationError(_faults(error, path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    except OSError as error:
        raise ConfigurationError(f"The configuration can't be read: {error}") from error
    except SettingsError as error:
        raise ConfigurationError(f"An environment variable or a secret can't be used: {error}") from error
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
    tls = settings.dicom.tls
    places = {
        "dicom": settings.dicom.model_copy(
            update={
                "tls": tls.model_copy(
                    update={name: base / getattr(tls, name) for name in ("certificate", "key", "ca")}
                )
            }
        ),
        "storage": storage.model_copy(
            update={
                "ledger": url,
                **{name: base / getattr(storage, name) for name in ("spool", "models", "training_cache")},
            }
        ),
        "archive": settings.archive.model_copy(update={"folder": base / settings.archive.folder}),
        "models": tuple(m.model_copy(update={"package": base / m.package}) for m in settings.models),
    }
    named = {"pccp": settings.learn.pccp, "factory_data": settings.learn.factory_data}
    files = {key: base / path for key, path in named.items() if path is not None}
    if files:
        places["learn"] = settings.learn.model_copy(update=files)
    return settings.model_copy(update=places)
