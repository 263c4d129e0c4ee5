"""From the scores of images to a study's predictions. Pure but for the package that it is given."""

from collections.abc import Sequence

import numpy as np

from orthanc_al.domain import ImageScore, Prediction, Study, Tier
from orthanc_al.inference.package import ModelPackage
from orthanc_al.ledger.predictions import StoredPrediction


def aggregate(
    study: Study, scores: Sequence[ImageScore], package: ModelPackage, scored_at: float
) -> list[StoredPrediction]:
    """Return a prediction for each finding: that of the image with the highest calibrated probability.

    Probability, embedding, deviation and distance are all the deciding image's (``aggregation = "max"``).

    Parameters
    ----------
    scores
        Of the study's images by this package, at least one.
    """
    images = len({(score.instance_id, score.frame) for score in scores})
    ordered = sorted(scores, key=lambda score: (score.instance_id, score.frame))
    made = []
    for number, entry in enumerate(package.manifest.findings):
        # A calibrator keeps the order of logits, and logits keep apart what probabilities round to 1.
        decider = ordered[int(np.argmax([score.logits[number] for score in ordered]))]
        logit = float(decider.logits[number])
        prediction = Prediction(
            study_instance_uid=study.study_instance_uid,
            revision=study.revision,
            model_digest=package.ref.digest,
            finding=entry.name,
            logit=logit,
            probability=float(entry.calibrator.probability(logit)),
            std=_deviation(decider, number, package),
            ood=_distance(decider, package),
            tier=Tier.NONE,
        )
        made.append(
            StoredPrediction(
                prediction=prediction,
                model=package.ref,
                instance_id=decider.instance_id,
                frame=decider.frame,
                images=images,
                embedding=decider.embedding,
                scored_at=scored_at,
            )
        )
    return made


def _deviation(score: ImageScore, number: int, package: ModelPackage) -> float:
    """Return the standard deviation of a logit under the head's posterior, 0 where it has none."""
    covariance = package.contents.covariance
    if covariance is None:
        return 0.0
    phi = np.append(score.embedding, 1.0).astype(np.float64)
    return float(np.sqrt(max(phi @ covariance[number] @ phi, 0.0)))


def _distance(score: ImageScore, package: ModelPackage) -> float:
    """Return the embedding's distance over the domain's limit, 0 where the package knows no domain."""
    domain = package.contents.domain
    return 0.0 if domain is None else float(domain.ratio(score.embedding[np.newaxis])[0])
