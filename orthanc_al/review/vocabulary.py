"""Which codes and which exact texts say something of a finding that a model looks for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sqlalchemy import Connection

from orthanc_al.domain import Finding, ReadValue
from orthanc_al.errors import PackageRefusedError
from orthanc_al.inference.manifest import parse_manifest
from orthanc_al.inference.package import MANIFEST
from orthanc_al.ledger import models
from orthanc_al.observe import logger

_log = logger("review")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The fixed map from what a report may say to findings.

    Attributes
    ----------
    codes
        (value, scheme) of a finding's code -> its name.
    labels
        Text, as `normalised` makes it -> finding and value. A finding's bare name says nothing: viewers
        copy it from our own report.
    """

    codes: Mapping[tuple[str, str], str]
    labels: Mapping[str, tuple[str, ReadValue]]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> "Vocabulary":
        """Return the map for findings: their codes, and "pneumonia present", "no pneumonia" and the like."""
        codes, labels = {}, {}
        for finding in findings:
            codes[finding.code.key] = finding.name
            for word in {finding.name, finding.code.meaning}:
                for value in ReadValue:
                    labels[normalised(f"{word} {value}")] = (finding.name, value)
                labels[normalised(f"no {word}")] = (finding.name, ReadValue.ABSENT)
        return cls(codes, labels)


def normalised(text: str) -> str:
    """Return a label without what is not its meaning: case and spaces."""
    return " ".join(text.casefold().split())


def known_findings(connection: Connection) -> tuple[Finding, ...]:
    """Return what the models of the ledger look for, each finding once.

    A package whose folder is gone is left out: its findings are those of its successors.
    """
    found: dict[str, Finding] = {}
    for model in models.versions(connection):
        try:
            for finding in _findings(model.folder, model.ref.digest):
                found[finding.name] = finding
        except (OSError, PackageRefusedError) as error:
            _log.warning("manifest_not_read", model=str(model.ref), error=str(error))
    return tuple(found.values())


@lru_cache(maxsize=64)
def _findings(folder: Path, digest: str) -> tuple[Finding, ...]:
    del digest  # a package is never changed in place: digest and folder are its key
    manifest = parse_manifest((folder / MANIFEST).read_bytes())
    return tuple(entry.finding for entry in manifest.findings)
