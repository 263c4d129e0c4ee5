"""``MODEL_CARD.md`` of a package that was learned at a site."""

from typing import Final

from orthanc_al.inference.manifest import Manifest
from orthanc_al.inference.package import ModelPackage

_CARD: Final = """\
# {name} {version}

Made by `orthanc-al retrain` from {parent} (`{digest}`): {how}
fitted to this site's confirmed reads. What the factory package's card says of intended
use, data and limits holds here, too: research use, no clinical claim.

Training data: snapshot `{data}` of the site's ledger.
Audit labels behind calibrator and thresholds: {positives} positive, {negatives} negative.

| finding | tier low below | tier high above | operating threshold |
|---|---|---|---|
{borders}

| metric | finding | on | value | 95 % interval | n |
|---|---|---|---|---|---|
{metrics}
"""


_HEAD: Final = "the backbone is its own; head, calibrator and thresholds were"
_WHOLE: Final = "the whole network was trained on from there, and head, calibrator and thresholds were"


def model_card(manifest: Manifest, parent: ModelPackage, *, fine_tuned: bool = False) -> str:
    """Return the card of a package with this manifest that was made from ``parent``."""
    return _CARD.format(
        name=manifest.name,
        version=manifest.version,
        parent=parent.ref.version,
        digest=parent.ref.digest,
        how=_WHOLE if fine_tuned else _HEAD,
        data=manifest.training_data,
        positives=manifest.calibration.positives,
        negatives=manifest.calibration.negatives,
        borders="\n".join(
            f"| {entry.name} | {_number(entry.thresholds.low)} | {_number(entry.thresholds.high)} | "
            f"{_number(entry.thresholds.operating)} |"
            for entry in manifest.findings
        ),
        metrics="\n".join(
            f"| {m.name} | {m.finding} | {m.on} | {m.value:.4f} | {m.low:.4f} to {m.high:.4f} | {m.n} |"
            for m in manifest.metrics
        ),
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
