"""`orthanc-al score`: files to tiers without the service; nothing is stored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orthanc_al.domain import Attributes, Grouping, Study, StudyState, group_of
from orthanc_al.errors import ConfigurationError, OrthancAlError
from orthanc_al.imaging.header import header_of
from orthanc_al.imaging.reading import read_header
from orthanc_al.inference import RunningModel, load_package
from orthanc_al.observe import now
from orthanc_al.score import score_images
from orthanc_al.score.aggregate import aggregate
from orthanc_al.service import modelling
from orthanc_al.settings import Settings
from orthanc_al.triage import tier_of


@dataclass(frozen=True, slots=True)
class Row:
    """What the model says of a file about a finding; without a probability ``why`` says why not."""

    file: str
    finding: str
    probability: float | None
    tier: str
    why: str


def score_files(
    settings: Settings, paths: Sequence[Path], package: Path | None, on_progress: Callable[[], object]
) -> list[Row]:
    """Score each file by itself, with the named package or the first that is configured.

    Raises
    ------
    ConfigurationError
        Neither is there.
    PackageRefusedError
        The package does not hold.
    """
    folder = package or next((model.package for model in settings.models), None)
    if folder is None:
        raise ConfigurationError("No model is configured: name one with --package FOLDER.")
    loaded = load_package(folder)
    model = modelling.running(settings).get(folder, loaded.ref)
    rows = []
    for path in paths:
        rows += _rows(path, model, settings.triage.groups)
        on_progress()
    return rows


def _rows(path: Path, model: RunningModel, groups: Grouping) -> list[Row]:
    alone = Study(path.name, "", "", StudyState.COMPLETE, 1, 0.0, 0.0, 0)
    try:
        group = group_of(groups, _attributes(path))
        found = aggregate(
            alone, [one.score for one in score_images(path, path.name, model)], model.package, 0.0
        )
    except OrthancAlError as error:
        return [Row(path.name, "", None, "none", str(error))]
    borders = {entry.name: entry.thresholds for entry in model.package.manifest.findings}
    rows = []
    for one in found:
        said = one.prediction
        low, high = borders[said.finding].borders(groups, group)
        tier, why = tier_of(said.finding, said.probability, said.ood, low, high)
        rows.append(Row(path.name, said.finding, said.probability, tier.value, why))
    return rows


def _attributes(path: Path) -> Attributes:
    """Return what of a file's study makes groups, as if it arrived now."""
    header = header_of(read_header(path))
    return Attributes(header.station, header.sex, header.birth_date, header.modality, header.body_part, now())
