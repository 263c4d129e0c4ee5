"""What a package says about one finding: head, calibrator and thresholds, which change as one."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orthanc_al.inference import manifest as parts
from orthanc_al.inference.head_swap import read_head
from orthanc_al.inference.package import ModelPackage
from orthanc_al.inference.thresholds import Groups, Thresholds
from orthanc_al.methods.calibration import Calibrator
from orthanc_al.methods.head import Head

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Borders:
    """Calibrated probabilities between tiers, as `orthanc_al.inference.thresholds.Thresholds` has them."""

    operating: float
    high: float | None
    low: float | None
    groups: Groups | None = None

    @classmethod
    def of(cls, entry: Thresholds) -> "Borders":
        """Return the borders of a manifest."""
        return cls(entry.operating, entry.high, entry.low, entry.groups)

    def entry(self) -> Thresholds:
        """Return them as a manifest has them."""
        return Thresholds(operating=self.operating, high=self.high, low=self.low, groups=self.groups)


@dataclass(frozen=True, slots=True)
class FindingModel:
    """One finding's part of a package.

    Attributes
    ----------
    weight
        float32, shape (d,): as the ONNX file has it, so that what is judged is what goes live.
    bias
        float32, shape ().
    covariance
        Of (weight, bias), float32, shape (d + 1, d + 1); None where the head has none.
    """

    name: str
    weight: NDArray[np.float32]
    bias: np.float32
    covariance: NDArray[np.float32] | None
    calibrator: Calibrator
    borders: Borders

    def logits(self, embeddings: ArrayLike) -> Vector:
        """Return the logits of embeddings (n, d), shape (n,)."""
        return np.asarray(embeddings, np.float64) @ self.weight.astype(np.float64) + float(self.bias)

    def probabilities(self, embeddings: ArrayLike) -> Vector:
        """Return the calibrated probabilities of embeddings (n, d), shape (n,)."""
        return self.calibrator.probability(self.logits(embeddings))

    def with_head(self, head: Head) -> "FindingModel":
        """Return the same with another head, rounded as the ONNX file rounds it."""
        return replace(
            self,
            weight=head.weight.astype(np.float32),
            bias=np.float32(head.bias),
            covariance=head.covariance.astype(np.float32),
        )


def finding_models(package: ModelPackage) -> tuple[FindingModel, ...]:
    """Return a package's findings in the order of its logits."""
    weight, bias = read_head(package.contents.model)
    covariance = package.contents.covariance
    return tuple(
        FindingModel(
            name=entry.name,
            weight=weight[:, number],
            bias=bias[number],
            covariance=None if covariance is None else covariance[number],
            calibrator=entry.calibrator,
            borders=Borders.of(entry.thresholds),
        )
        for number, entry in enumerate(package.manifest.findings)
    )


def entry_of(entry: parts.FindingEntry, model: FindingModel) -> parts.FindingEntry:
    """Return a manifest's entry with the calibrator and thresholds of ``model``."""
    return entry.model_copy(
        update={
            "calibrator": model.calibrator,
            "thresholds": model.borders.entry(),
        }
    )
