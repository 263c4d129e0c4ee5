"""What a model package says of its findings: their codes, and how its logits become probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orthanc_al.domain import Finding
from orthanc_al.inference.package import load_package
from orthanc_al.methods.calibration import Calibrator


@dataclass(frozen=True, slots=True)
class DescribedFinding:
    """One finding of a model; ``index`` is that of its logit."""

    finding: Finding
    index: int
    calibrator: Calibrator


def described(folder: Path) -> Mapping[str, DescribedFinding]:
    """Return the findings of the package in ``folder`` by their names.

    Raises
    ------
    PackageRefusedError
        The package is not what its digests say.
    """
    entries = load_package(folder).manifest.findings
    return {
        entry.name: DescribedFinding(entry.finding, index, entry.calibrator)
        for index, entry in enumerate(entries)
    }
