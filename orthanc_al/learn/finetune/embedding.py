"""All history as another network sees it: what ONNX Runtime gives for the training cache's inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orthanc_al.inference.session import Session
from orthanc_al.learn.finetune.start import Start
from orthanc_al.learn.snapshot import Role, Snapshot
from orthanc_al.ledger.learning import LabelledCase
from orthanc_al.methods.ood import Domain, fit_domain

_BATCH: Final = 64
_LEAST_FOR_DOMAIN: Final = 20

Inputs = Mapping[tuple[str, str], NDArray[np.float16]]


def with_inputs(snapshot: Snapshot, inputs: Inputs) -> Snapshot:
    """Return the snapshot of the cases that have an input."""
    kept = [
        (case, role)
        for case, role in zip(snapshot.cases, snapshot.roles, strict=True)
        if (case.study_instance_uid, case.finding) in inputs
    ]
    return replace(snapshot, cases=tuple(case for case, _ in kept), roles=tuple(role for _, role in kept))


def embedded(
    old: Snapshot, inputs: Inputs, model: bytes, with_domain: bool
) -> tuple[Snapshot, Domain | None]:
    """Return the cases as the new network sees them, and where its domain ends."""
    films = [inputs[case.study_instance_uid, case.finding] for case in old.cases]
    embeddings = _run(model, films)[1]
    trains = np.array([role is Role.TRAIN for role in old.roles])
    domain = None
    if with_domain and trains.sum() >= _LEAST_FOR_DOMAIN:
        unseen = embeddings[~trains] if (~trains).sum() >= _LEAST_FOR_DOMAIN else embeddings
        domain = fit_domain(embeddings[trains], unseen)
    ood = np.zeros(len(films)) if domain is None else domain.ratio(embeddings)
    cases = tuple(
        replace(case, embedding=embeddings[row], ood=float(ood[row])) for row, case in enumerate(old.cases)
    )
    return replace(old, cases=cases), domain


def _run(
    model: bytes, films: Sequence[NDArray[np.float16]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return logits (n, k) and embeddings (n, d) of model inputs by ONNX Runtime."""
    session = Session(model)
    parts = [
        session.run(np.stack(films[start : start + _BATCH]).astype(np.float32))
        for start in range(0, len(films), _BATCH)
    ]
    return np.concatenate([one.logits for one in parts]), np.concatenate([one.embedding for one in parts])


def factory_logits(
    start: Start, rows: Sequence[LabelledCase], finding: str, inputs: Inputs
) -> NDArray[np.float64] | None:
    """Return what the factory's own network says of the gate's cases; None where the backbone is its."""
    if start.factory.ref.digest == start.backbone.ref.digest or not rows:
        return None
    k = [entry.name for entry in start.factory.manifest.findings].index(finding)
    films = [inputs[case.study_instance_uid, finding] for case in rows]
    return _run(start.factory.contents.model, films)[0][:, k].astype(np.float64)
