"""Makes a package of what the gate let through: head, calibrator and thresholds on the same backbone."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import numpy as np

from orthanc_al.domain import ModelRef
from orthanc_al.errors import PackageRefusedError
from orthanc_al.inference.contents import PackageContents
from orthanc_al.inference.head_swap import swap_head
from orthanc_al.inference.manifest import Calibration, Manifest, Metric, Origin
from orthanc_al.inference.package import ModelPackage, write_package
from orthanc_al.inference.session import Session
from orthanc_al.learn.card import model_card
from orthanc_al.learn.finding_model import FindingModel, entry_of
from orthanc_al.learn.fit import Guarantee
from orthanc_al.learn.snapshot import Role, Snapshot
from orthanc_al.methods.delong import auc_interval

_PROBES: Final = 4


def make_package(
    folder: Path,
    parent: ModelPackage,
    models: Sequence[FindingModel],
    snapshot: Snapshot,
    version: str,
    *,
    parity: float,
    base: PackageContents | None = None,
) -> ModelPackage:
    """Write the package with these findings and return it as read back; the same again is the same bytes.

    Parameters
    ----------
    folder
        Where; complete or not at all.
    parent
        The champion: backbone, domain, preprocessing and codes are its own.
    models
        In the order of its findings.
    snapshot
        What was learned from.
    version
        From :func:`version_of`.
    parity
        Check (g): largest difference between ONNX Runtime's logits and those of the fitted heads.
    base
        Network and domain where they are new (fine-tuned); the parent's where left out.

    Raises
    ------
    PackageRefusedError
        ONNX Runtime does not say what was judged; nothing was written.
    """
    weight = np.stack([model.weight for model in models], axis=1)
    bias = np.array([model.bias for model in models], np.float32)
    covariances = [model.covariance for model in models if model.covariance is not None]
    backbone = parent.contents if base is None else base
    contents = replace(
        backbone,
        model=swap_head(backbone.model, weight, bias),
        covariance=np.stack(covariances) if len(covariances) == len(models) else None,
        reference=None,
    )
    size = parent.manifest.preprocessing.size
    _check_parity(backbone.model, contents.model, models, size, parity)
    manifest = _manifest(parent, contents, models, snapshot, version)
    card = model_card(manifest, parent, fine_tuned=base is not None)
    return write_package(folder, manifest, contents, card)


def version_of(
    snapshot: Snapshot, anchor: ModelRef, champion: ModelRef, guarantee: Guarantee, plan: str
) -> str:
    """Return the version that all inputs of a night give: the same inputs, the same version.

    Parameters
    ----------
    plan
        The plan of changes, as JSON.
    """
    inputs = (snapshot.digest, champion.digest, repr(sorted(asdict(guarantee).items())), plan)
    return f"{anchor.version}.site.{hashlib.sha256('|'.join(inputs).encode()).hexdigest()[:12]}"


def _check_parity(
    backbone: bytes, model: bytes, findings: Sequence[FindingModel], size: int, parity: float
) -> None:
    """Run both networks on the same noise: embeddings must be bit-equal, logits those of the heads."""
    probes = np.random.default_rng(0).normal(size=(_PROBES, 1, size, size)).astype(np.float32)
    before, after = Session(backbone).run(probes), Session(model).run(probes)
    wanted = np.stack([finding.logits(after.embedding) for finding in findings], axis=1)
    gap = float((np.abs(after.logits - wanted) / np.maximum(1.0, np.abs(wanted))).max())
    if not np.array_equal(before.embedding, after.embedding):
        raise PackageRefusedError(
            "With the new head ONNX Runtime gives other embeddings than with the old one."
        )
    if gap > parity:
        raise PackageRefusedError(
            f"ONNX Runtime's logits differ by {gap:.1e} from those that were judged (at most {parity:.0e})."
        )


def _manifest(
    parent: ModelPackage,
    contents: PackageContents,
    models: Sequence[FindingModel],
    snapshot: Snapshot,
    version: str,
) -> Manifest:
    entries = zip(parent.manifest.findings, models, strict=True)
    run = parent.manifest.run
    return Manifest(
        **{
            **dict(parent.manifest),
            "version": version,
            "parent": parent.ref.digest,
            "training_data": snapshot.digest,
            "files": contents.digests(),
            # They were computed on this network's own embeddings: no other one's stand behind them any more.
            "run": run.model_copy(update={"thresholds_precision": run.precision}),
            "calibration": _calibration(parent, models, snapshot),
            "findings": tuple(entry_of(entry, model) for entry, model in entries),
            "metrics": tuple(metric for model in models for metric in _metrics(model, snapshot)),
        }
    )


def _calibration(parent: ModelPackage, models: Sequence[FindingModel], snapshot: Snapshot) -> Calibration:
    """Return how many audit labels stand behind calibrators and thresholds; the parent's where none do."""
    audits = [
        snapshot.select(model.name, role) for model in models for role in (Role.CALIBRATION, Role.THRESHOLDS)
    ]
    positives, negatives = (sum(one.positives for one in audits), sum(one.negatives for one in audits))
    if positives + negatives == 0:
        return parent.manifest.calibration
    return Calibration(
        origin=Origin.SITE, by="orthanc-al retrain, random audit", positives=positives, negatives=negatives
    )


def _metrics(model: FindingModel, snapshot: Snapshot) -> list[Metric]:
    gate = snapshot.select(model.name, Role.GATE)
    if min(gate.positives, gate.negatives) < 2:
        return []
    area, low, high = auc_interval(model.logits(gate.embeddings), gate.labels)
    return [
        Metric(
            name="auc",
            finding=model.name,
            on="random audit of this site, fold gate",
            value=area,
            low=low,
            high=high,
            n=len(gate.rows),
        )
    ]
