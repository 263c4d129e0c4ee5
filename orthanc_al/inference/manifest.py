"""``manifest.toml`` of a model package: everything about a model that is not its weights."""

import tomllib
from dataclasses import fields
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from orthanc_al.domain.codes import Code
from orthanc_al.domain.model import Finding
from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.errors import PackageRefusedError
from orthanc_al.methods.calibration import Calibrator

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


def _exactly(kind: type[PreprocessingSpec] | type[Calibrator]) -> BeforeValidator:
    """Return a validator that asks for every field of a dataclass and no other key.

    Left to themselves, dataclasses fill what is missing in: a misspelt key would change a model's results
    without a word.
    """
    names = {field.name for field in fields(kind)}

    def check(value: object) -> object:
        if isinstance(value, dict) and set(value) != names:
            raise ValueError(f"keys must be {sorted(names)}, not {sorted(value)}")
        return value

    return BeforeValidator(check)


class _Table(BaseModel):
    """A TOML table: frozen, and an unknown key is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Origin(StrEnum):
    """Whose audit labels a calibrator and thresholds come from."""

    FACTORY = "factory"
    SITE = "site"


class Thresholds(_Table):
    """Borders between tiers, as calibrated probabilities of a study.

    Attributes
    ----------
    operating
        Where sensitivity and specificity are stated.
    high
        Above: tier high. None where the labels do not support one.
    low
        Below: tier low. None where the labels do not support one.
    """

    operating: Probability
    high: Probability | None = None
    low: Probability | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high}): a study would be both")
        return self


class FindingEntry(_Table):
    """One finding, in the order of the model's logits."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    code_value: str
    code_scheme: str
    code_meaning: str
    calibrator: Annotated[Calibrator, _exactly(Calibrator)]
    thresholds: Thresholds

    @property
    def finding(self) -> Finding:
        """The finding as the domain knows it."""
        return Finding(self.name, Code(self.code_value, self.code_scheme, self.code_meaning))


class Calibration(_Table):
    """Who calibrated, and from how many audit labels of each kind.

    ``site`` means the site that runs the model: the labels of another site or of the factory never
    support a low tier (promise 5).
    """

    origin: Origin
    by: str
    positives: Annotated[int, Field(ge=0)]
    negatives: Annotated[int, Field(ge=0)]


class Metric(_Table):
    """A figure with its 95 % interval, on ``n`` images or studies described by ``on``."""

    name: str
    finding: str
    on: str
    value: float
    low: float
    high: float
    n: Annotated[int, Field(ge=1)]


class Manifest(_Table):
    """The whole file.

    Attributes
    ----------
    files
        SHA-256 of each file of the package that has a say in a result, by its name.
    parent
        Digest of the package that this one was made from; empty for a factory's.
    training_data
        SHA-256 of the training data, as the one who trained counts it.
    aggregation
        How a study's probability and embedding come from its images: those of the image with the
        highest calibrated probability.
    decode
        Images are decoded at full resolution before they are resized.
    """

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    version: Annotated[str, Field(min_length=1)]
    parent: Sha256 | Literal[""] = ""
    training_data: Sha256
    aggregation: Literal["max"] = "max"
    decode: Literal["full"] = "full"
    files: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")], Sha256]
    preprocessing: Annotated[PreprocessingSpec, _exactly(PreprocessingSpec)]
    calibration: Calibration
    findings: Annotated[tuple[FindingEntry, ...], Field(min_length=1)]
    metrics: tuple[Metric, ...] = ()

    @field_validator("preprocessing")
    @classmethod
    def _known_preprocessing(cls, value: PreprocessingSpec) -> PreprocessingSpec:
        if not value.known:
            raise ValueError(f"{value.name!r} version {value.version} is not known to this orthanc_al")
        if not (value.size > 0 and 0.0 <= value.low_percentile < value.high_percentile <= 100.0):
            raise ValueError("size is positive, and 0 <= low_percentile < high_percentile <= 100")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [entry.name for entry in self.findings]
        if len(set(names)) != len(names):
            raise ValueError(f"a finding is named twice: {names}")
        if self.calibration.origin is Origin.FACTORY and any(
            e.thresholds.low is not None for e in self.findings
        ):
            raise ValueError("a low tier needs the site's own audit labels (calibration.origin = 'site')")
        if "model.onnx" not in self.files:
            raise ValueError("files lacks model.onnx")
        return self

    def to_toml(self) -> bytes:
        """Return the file's bytes; :func:`parse_manifest` gives the same manifest back."""
        plain: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        return tomli_w.dumps(plain).encode()


def parse_manifest(text: bytes) -> Manifest:
    """Return the manifest that the bytes of a ``manifest.toml`` hold.

    Raises
    ------
    PackageRefusedError
        It is no TOML, or keys are missing, unknown or wrong: the text names all of them.
    """
    try:
        return Manifest.model_validate(tomllib.loads(text.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PackageRefusedError(f"manifest.toml is no TOML file: {error}") from error
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc']) or 'manifest'}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise PackageRefusedError("manifest.toml can't be used: " + "; ".join(faults)) from error
