"""Makes a package of what the gate let through: head, calibrator and thresholds on the same backbone."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orthanc_al.domain import ModelRef
from orthanc_al.errors import ModelError, PackageRefusedError
from orthanc_al.inference.contents import PackageContents
from orthanc_al.inference.head_swap import swap_head
from orthanc_al.inference.manifest import Calibration, Manifest, Metric, Origin
from orthanc_al.inference.package import ModelPackage, write_package
from orthanc_al.inference.reference import probes_for, recorded
from orthanc_al.inference.running import PARITY
from orthanc_al.inference.scorer import prove
from orthanc_al.inference.session import Session
from orthanc_al.learn.card import model_card
from orthanc_al.learn.finding_model import FindingModel, entry_of
from orthanc_al.learn.fit import Guarantee
from orthanc_al.learn.snapshot import Role, Snapshot
from orthanc_al.methods.delong import auc_interval


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
        ONNX Runtime does not say what was judged, or in half precision not what float32 would say; nothing
        was written.
    """
    weight = np.stack([model.weight for model in models], axis=1)
    bias = np.array([model.bias for model in models], np.float32)
    covariances = [model.covariance for model in models if model.covariance is not None]
    backbone = parent.contents if base is None else base
    contents = replace(
        backbone,
        model=swap_head(backbone.model, weight, bias),
        covariance=np.stack(covariances) if len(covariances) == len(models) else None,
    )
    probes = probes_for(parent.manifest)
    _check_parity(backbone.model, contents.model, models, probes, parity)
    manifest = _manifest(parent, contents, models, snapshot, version)
    _check_precision(replace(parent, manifest=manifest, contents=contents), probes)
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
    backbone: bytes,
    model: bytes,
    findings: Sequence[FindingModel],
    probes: NDArray[np.float32],
    parity: float,
) -> None:
    """Run both networks on the same noise: embeddings must be bit-equal, logits those of the heads.

    On the CPU, since it is the file that is judged: a GPU need not give the same bits twice, and multiplies
    with fewer of them (TF32).
    """
    before, after = (Session(network, cpu=True).run(probes) for network in (backbone, model))
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


def _check_precision(package: ModelPackage, probes: NDArray[np.float32]) -> None:
    """Hold a network in half precision to the float32 one with this head, as loading it will.

    The reads that it learned from were scored by either: only where both say the same do the thresholds hold.
    """
    reference = recorded(package)
    if reference is None:
        return
    try:
        prove(reference, Session(package.contents.model), probes, PARITY)
    except ModelError as error:
        raise PackageRefusedError(
            f"With the new head half precision does not hold: {error}. Promote the float32 package that it "
            "was made from (`orthanc-al models list`), and `orthanc-al retrain`."
        ) from error


def _manifest(
    parent: ModelPackage,
    contents: PackageContents,
    models: Sequence[FindingModel],
    snapshot: Snapshot,
    version: str,
) -> Manifest:
    entries = zip(parent.manifest.findings, models, strict=True)
    return Manifest(
        **{
            **dict(parent.manifest),
            "version": version,
            "parent": parent.ref.digest,
            "training_data": snapshot.digest,
            "files": contents.digests(),
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
