"""What the factory's model can do, measured on patients that it never saw, with intervals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orthanc_al.inference.manifest import Metric
from orthanc_al.inference.thresholds import Thresholds
from orthanc_al.methods.bootstrap import by_patient
from orthanc_al.methods.calibration import Calibrator, expected_calibration_error, fit_calibrator
from orthanc_al.methods.conformal import high_threshold
from orthanc_al.methods.delong import auc
from orthanc_al.methods.ood import Domain

Vector = NDArray[np.float64]

ASSUMED_PREVALENCE: Final = 0.25
"""Share of positives that the factory's probabilities are made for: among the training films it is
nearly three quarters, which no clinic has. Ranks and thresholds do not depend on it."""

OPERATING_SENSITIVITY: Final = 0.95
"""Sensitivity at which the operating threshold is put."""

FALSE_ALARM_RATE: Final = 0.10
DELTA: Final = 0.10
"""The factory's high tier holds at most this share of negatives, surely enough (methods.conformal)."""

HELD_OUT: Final = "held-out patients"


@dataclass(frozen=True, slots=True)
class Scored:
    """Films of one part after the model.

    Attributes
    ----------
    embeddings
        float32, shape (n, d).
    logits
        float64, shape (n,).
    labels
        Shape (n,): 0 or 1.
    patients
        Whose each film is.
    """

    embeddings: NDArray[np.float32]
    logits: Vector
    labels: NDArray[np.int64]
    patients: tuple[str, ...]


def prevalence_weights(labels: NDArray[np.int64], prevalence: float = ASSUMED_PREVALENCE) -> Vector:
    """Return weights (n,) of mean 1 under which a share ``prevalence`` of the films is positive."""
    share = labels.mean()
    return np.asarray(np.where(labels == 1, prevalence / share, (1.0 - prevalence) / (1.0 - share)))


def calibrate(films: Scored) -> tuple[Calibrator, Thresholds]:
    """Return calibrator and thresholds, from films whose patients neither trained nor judge."""
    calibrator = fit_calibrator(films.logits, films.labels, sample_weight=prevalence_weights(films.labels))
    probabilities = calibrator.probability(films.logits)
    positive, negative = (probabilities[films.labels == label] for label in (1, 0))
    high = high_threshold(negative, FALSE_ALARM_RATE, DELTA)
    operating = float(np.quantile(positive, 1.0 - OPERATING_SENSITIVITY))
    return calibrator, Thresholds(operating=operating, high=None if high is None else high.value)


def discrimination(finding: str, films: Scored, looks: Mapping[str, Vector]) -> list[Metric]:
    """Return the AUC on the films, and on the same films as other scanners would have given them.

    Parameters
    ----------
    looks
        Logits of the films under each look, shape (n,), by its name.
    """
    views = {HELD_OUT: films.logits, **{f"{HELD_OUT}, {look}": logits for look, logits in looks.items()}}

    def area(logits: Vector) -> Callable[[NDArray[np.intp]], float]:
        def of(rows: NDArray[np.intp]) -> float:
            labels = films.labels[rows]
            return auc(logits[rows], labels) if 0 < labels.sum() < len(labels) else float("nan")

        return of

    return [_metric("auc", finding, on, area(logits), films.patients) for on, logits in views.items()]


def operation(finding: str, films: Scored, calibrator: Calibrator, thresholds: Thresholds) -> list[Metric]:
    """Return sensitivity and specificity at the thresholds, and the calibration error."""
    probabilities = calibrator.probability(films.logits)

    def above(threshold: float, label: int) -> Callable[[NDArray[np.intp]], float]:
        def of(rows: NDArray[np.intp]) -> float:
            chosen = probabilities[rows][films.labels[rows] == label]
            return float((chosen > threshold).mean()) if len(chosen) else float("nan")

        return of

    def error(rows: NDArray[np.intp]) -> float:
        labels = films.labels[rows]
        return expected_calibration_error(probabilities[rows], labels, prevalence_weights(labels))

    named: dict[str, Callable[[NDArray[np.intp]], float]] = {
        "sensitivity": above(thresholds.operating, 1),
        "false-alarm-rate": above(thresholds.operating, 0),
        "calibration-error": error,
    }
    if thresholds.high is not None:
        named["high-tier-sensitivity"] = above(thresholds.high, 1)
        named["high-tier-false-alarm-rate"] = above(thresholds.high, 0)
    return [_metric(name, finding, HELD_OUT, statistic, films.patients) for name, statistic in named.items()]


def outside(
    finding: str, domain: Domain, kinds: Mapping[str, NDArray[np.float32]], patients: tuple[str, ...]
) -> list[Metric]:
    """Return the share of each kind of images that is out of the domain.

    Parameters
    ----------
    kinds
        Embeddings (n, d) by what they are of; row by row made from the films of ``patients``.
    """
    return [
        _metric("outside-domain", finding, kind, _share(domain.ratio(embeddings) > 1.0), patients)
        for kind, embeddings in kinds.items()
    ]


def _share(chosen: NDArray[np.bool_]) -> Callable[[NDArray[np.intp]], float]:
    return lambda rows: float(chosen[rows].mean())


def _metric(
    name: str,
    finding: str,
    on: str,
    statistic: Callable[[NDArray[np.intp]], float],
    patients: tuple[str, ...],
) -> Metric:
    """Return a figure with the 2.5th and 97.5th percentile of its bootstrap over patients."""
    value = statistic(np.arange(len(patients)))
    resampled = by_patient(statistic, patients, resamples=1000)
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Metric(
        name=name,
        finding=finding,
        on=on,
        value=round(float(value), 4),
        low=round(float(low), 4),
        high=round(float(high), 4),
        n=len(patients),
    )
