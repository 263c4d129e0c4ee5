"""The wire: the listener, its peers, Orthanc, the small archive, and where things are kept."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from orthanc_al.settings.sections.base import LOOPBACK, Port, Section

Role = Literal["source", "destination", "results"]
AETitle = Annotated[
    str, Field(min_length=1, max_length=16, pattern=r"^ *[!-\[\]-~][ -\[\]-~]*$")
]  # PS3.5 6.2


class Peer(Section):
    """A DICOM peer: may send to us (source), gets every study (destination), gets our reports (results)."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    ae_title: AETitle
    host: str
    port: Port
    roles: tuple[Role, ...]
    associations: Annotated[int, Field(ge=1, le=16)] = 2
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60
    transfer_syntaxes: tuple[Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")], ...] = ()
    query: bool = False
    commitment: bool = False
    tls: bool = False


class Tls(Section):
    """DICOM over TLS: the port (0: none) and our certificate; files are read where one is used."""

    port: Annotated[int, Field(ge=0, le=65535)] = 0
    certificate: Path = Path("tls/certificate.pem")
    key: Path = Path("tls/key.pem")
    ca: Path = Path("tls/ca.pem")
    check_host: bool = False


class Dicom(Section):
    """The listener, and the peers around it."""

    ae_title: AETitle = "ORTHANC_AL"
    host: str = "127.0.0.1"
    port: Port = 11112
    accept: Literal["listed", "observe", "any"] = "listed"
    max_associations: Annotated[int, Field(ge=1, le=1000)] = 64
    tls: Tls = Tls()
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
            if (
                here
                and peer.port in (self.port, self.tls.port)
                and set(peer.roles) & {"destination", "results"}
            ):
                raise ValueError(f"peer {peer.name} is our own listener: all studies would go in a circle")
        return self


class Receive(Section):
    """How the listener reads what comes by C-STORE."""

    data_path: Literal["fast", "plain"] = "fast"


class Storage(Section):
    """Where things are kept."""

    ledger: str = "sqlite:///var/ledger.sqlite"
    spool: Path = Path("var/spool")
    models: Path = Path("var/models")
    training_cache: Path = Path("var/training")
    min_free_gb: Annotated[float, Field(ge=0)] = 5
    keep_days: Annotated[float, Field(ge=0)] = 7
    prepared_files: Annotated[int, Field(ge=0, le=256)] = 64

    @field_validator("ledger")
    @classmethod
    def _is_a_database(cls, value: str) -> str:
        if not value.startswith(("sqlite:///", "postgresql:", "postgresql+")):
            raise ValueError('a URL like "sqlite:///var/ledger.sqlite" or "postgresql://host/name"')
        return value


class Archive(Section):
    """A small archive of our own, for where no PACS is configured (the demo)."""

    enabled: bool = False
    folder: Path = Path("var/archive")
    port: Port = 11113


class Orthanc(Section):
    """Orthanc's REST API; an empty ``url`` means that there is none."""

    url: str = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    watch: bool = False
    watch_days: Annotated[float, Field(ge=0)] = 1
    peer: str = ""
    mirror: bool = True

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError('a URL like "http://127.0.0.1:8042"')
        if "@" in value.partition("://")[2].partition("/")[0]:  # messages and logs name the address
            raise ValueError(
                "it holds a name or password: put them into orthanc.username and orthanc.password"
            )
        return value

    @model_validator(mode="after")
    def _watches_something(self) -> Self:
        if self.watch and not self.url:
            raise ValueError('watch needs the url of an Orthanc, e.g. url = "http://127.0.0.1:8042"')
        return self
