"""A model, as others refer to it."""

from dataclasses import dataclass

from orthanc_al.domain.codes import Code


@dataclass(frozen=True, slots=True)
class Finding:
    """What a model looks for: its short name in tables and its code in reports."""

    name: str
    code: Code


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Name, version and digest of a model package; the digest alone says which one it is."""

    name: str
    version: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.digest[:12]})"
