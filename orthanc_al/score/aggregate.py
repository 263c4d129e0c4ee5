"""From the scores of images to a study's predictions. Pure but for the package that it is given.

Every aggregation is a weighted mean of embeddings: the head is linear, so the logit of the mean is the
mean of the logits under the same weights. ``max`` gives the whole weight to one image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orthanc_al.domain import ImageScore, Prediction, Study, Tier
from orthanc_al.inference.package import ModelPackage
from orthanc_al.ledger.predictions import StoredPrediction

Weights = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Pooled:
    """What a series comes to for one finding; ``decider`` is the image to look at."""

    logit: float
    embedding: NDArray[np.float32]
    decider: ImageScore


def aggregate(
    study: Study,
    scores: Sequence[ImageScore],
    package: ModelPackage,
    scored_at: float,
    series: Mapping[str, str] | None = None,
) -> list[StoredPrediction]:
    """Return a prediction for each finding: that of the series with the highest logit.

    Parameters
    ----------
    scores
        Of the study's images by this package, at least one.
    series
        Series Instance UID by instance id; without it all images are of one.
    """
    images = len({(score.instance_id, score.frame) for score in scores})
    groups = _by_series(scores, series or {})
    made = []
    for number, entry in enumerate(package.manifest.findings):
        # A calibrator keeps the order of logits, and logits keep apart what probabilities round to 1.
        pooled = max((_pooled(group, number, package) for group in groups), key=lambda one: one.logit)
        prediction = Prediction(
            study_instance_uid=study.study_instance_uid,
            revision=study.revision,
            model_digest=package.ref.digest,
            finding=entry.name,
            logit=pooled.logit,
            probability=float(entry.calibrator.probability(pooled.logit)),
            std=_deviation(pooled.embedding, number, package),
            ood=_distance(pooled.embedding, package),
            tier=Tier.NONE,
        )
        made.append(
            StoredPrediction(
                prediction=prediction,
                model=package.ref,
                instance_id=pooled.decider.instance_id,
                frame=pooled.decider.frame,
                images=images,
                embedding=pooled.embedding,
                scored_at=scored_at,
            )
        )
    return made


def looks_urgent(scores: Sequence[ImageScore], package: ModelPackage) -> bool:
    """Whether an image by itself is above the border of the high tier, or of a positive where it has none."""
    for number, entry in enumerate(package.manifest.findings):
        high = entry.thresholds.high
        border = entry.thresholds.operating if high is None else high
        if any(entry.calibrator.probability(float(score.logits[number])) >= border for score in scores):
            return True
    return False


def _by_series(scores: Sequence[ImageScore], series: Mapping[str, str]) -> list[list[ImageScore]]:
    groups: dict[str, list[ImageScore]] = {}
    for score in sorted(scores, key=lambda score: (score.instance_id, score.frame)):
        groups.setdefault(series.get(score.instance_id, ""), []).append(score)
    return list(groups.values())


def _pooled(group: Sequence[ImageScore], number: int, package: ModelPackage) -> _Pooled:
    logits = np.array([score.logits[number] for score in group], np.float64)
    weights = _weights(group, logits, package)
    # The heaviest image, among equals the one with the highest logit, and then the first.
    heaviest = np.flatnonzero(weights == weights.max())
    decider = group[int(heaviest[np.argmax(logits[heaviest])])]
    if weights.max() == 1.0:  # of one image: its very numbers
        return _Pooled(float(decider.logits[number]), decider.embedding, decider)
    embedding = weights @ np.stack([score.embedding for score in group]).astype(np.float64)
    return _Pooled(float(weights @ logits), embedding.astype(np.float32), decider)


def _weights(group: Sequence[ImageScore], logits: NDArray[np.float64], package: ModelPackage) -> Weights:
    """Return each image's weight, of sum 1, as the manifest's ``aggregation`` says."""
    manifest, attention = package.manifest, package.contents.attention
    if manifest.aggregation == "attention" and attention is not None:
        return attention.weights(np.stack([score.embedding for score in group]))
    if manifest.aggregation == "mean":
        return np.full(len(group), 1.0 / len(group))
    most = min(manifest.top_k, len(group)) if manifest.aggregation == "top-k-mean" else 1
    weights = np.zeros(len(group))
    weights[np.argsort(-logits, kind="stable")[:most]] = 1.0 / most
    return weights


def _deviation(embedding: NDArray[np.float32], number: int, package: ModelPackage) -> float:
    """Return the standard deviation of a logit under the head's posterior, 0 where it has none."""
    covariance = package.contents.covariance
    if covariance is None:
        return 0.0
    phi = np.append(embedding, 1.0).astype(np.float64)
    return float(np.sqrt(max(phi @ covariance[number] @ phi, 0.0)))


def _distance(embedding: NDArray[np.float32], package: ModelPackage) -> float:
    """Return the embedding's distance over the domain's limit, 0 where the package knows no domain."""
    domain = package.contents.domain
    return 0.0 if domain is None else float(domain.ratio(embedding[np.newaxis])[0])
