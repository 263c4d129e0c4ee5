"""``manifest.toml`` of a model package: everything about a model that is not its weights."""

import tomllib
from dataclasses import fields
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from orthanc_al.domain.codes import Code
from orthanc_al.domain.criteria import Criteria
from orthanc_al.domain.model import Finding
from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.errors import PackageRefusedError
from orthanc_al.inference.thresholds import Table, Thresholds
from orthanc_al.methods.calibration import Calibrator

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _exactly(
    kind: type[PreprocessingSpec] | type[Calibrator], optional: frozenset[str] = frozenset()
) -> BeforeValidator:
    """Return a validator that asks for every field of a dataclass but the optional ones, and no other key.

    Left to themselves, dataclasses fill what is missing in: a misspelt key would change a model's results
    without a word.
    """
    names = {field.name for field in fields(kind)}

    def check(value: object) -> object:
        if isinstance(value, dict) and not names - optional <= set(value) <= names:
            raise ValueError(f"keys must be {sorted(names - optional)}, not {sorted(value)}")
        return value

    return BeforeValidator(check)


class Origin(StrEnum):
    """Whose audit labels a calibrator and thresholds come from."""

    FACTORY = "factory"
    SITE = "site"


class FindingEntry(Table):
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


class Calibration(Table):
    """Who calibrated, and from how many audit labels of each kind.

    ``site`` means the site that runs the model: the labels of another site or of the factory never
    support a low tier (promise 5).
    """

    origin: Origin
    by: str
    positives: Annotated[int, Field(ge=0)]
    negatives: Annotated[int, Field(ge=0)]


class Metric(Table):
    """A figure with its 95 % interval, on ``n`` images or studies described by ``on``."""

    name: str
    finding: str
    on: str
    value: float
    low: float
    high: float
    n: Annotated[int, Field(ge=1)]


class Intended(Table):
    """What a model was made for; empty means any (`orthanc_al.domain.criteria.Criteria`)."""

    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    view: tuple[str, ...] = ()
    procedure: tuple[str, ...] = ()
    station: tuple[str, ...] = ()
    age: tuple[()] | tuple[float, float] = ()
    images: tuple[()] | tuple[int, int] = ()

    @property
    def criteria(self) -> Criteria:
        """The same for the domain."""
        return Criteria(**{name: getattr(self, name) for name in type(self).model_fields})


class Series(Table):
    """A model of the slices of CT and MR: each is scored as it arrives, and the stack is looked at.

    Attributes
    ----------
    placed
        Whether a slice has to name its place in the patient.
    """

    placed: bool = True


class Run(Table):
    """How the network is run.

    Attributes
    ----------
    thresholds_on
        Device that calibrators and thresholds were computed on: on another one they hold only after the
        parity test (`orthanc_al.inference.running.PARITY`).
    precision
        Of the weights. ``orthanc-al models fp16`` makes a package in half precision.
    thresholds_precision
        Precision that calibrators and thresholds were computed at: at another one they hold only after the
        parity test, against ``reference.npz``. Left out: that of the weights.
    batch
        Images a run at most; 0: what suits the device.
    tensorrt
        Ask for TensorRT before CUDA.
    """

    thresholds_on: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    precision: Literal["fp32", "fp16"] = "fp32"
    thresholds_precision: Literal["fp32", "fp16"] | None = None
    batch: Annotated[int, Field(ge=0)] = 0
    tensorrt: bool = False

    @property
    def converted(self) -> bool:
        """Whether the thresholds were computed at another precision than that of the weights."""
        return self.thresholds_precision not in {None, self.precision}


class Manifest(Table):
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
        How a study's probability and embedding come from its images, series by series; the highest
        series counts. ``max``: those of the image with the highest probability. ``mean``,
        ``top-k-mean`` (of the ``top_k`` highest), ``attention`` (weights by ``attention.npz``).
    frames
        Of an instance with more frames, these many are scored, evenly spaced; 0: all.
    intended
        Which images it was made for.
    series
        Of a model of slices; None for one of single pictures.
    run
        How it is run.
    preprocessing
        With ``decode``, which packages made before it stood there have at the top.
    """

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=64)]  # of a folder
    parent: Sha256 | Literal[""] = ""
    training_data: Sha256
    aggregation: Literal["max", "mean", "top-k-mean", "attention"] = "max"
    top_k: Annotated[int, Field(ge=1)] = 5
    frames: Annotated[int, Field(ge=0)] = 0
    files: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")], Sha256]
    preprocessing: Annotated[PreprocessingSpec, _exactly(PreprocessingSpec, frozenset({"decode", "windows"}))]
    intended: Intended = Intended()
    series: Series | None = None
    run: Run = Run()
    calibration: Calibration
    findings: Annotated[tuple[FindingEntry, ...], Field(min_length=1)]
    metrics: tuple[Metric, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _decode_belongs_to_preprocessing(cls, value: Any) -> Any:
        if isinstance(value, dict) and "decode" in value and isinstance(value.get("preprocessing"), dict):
            rest = {key: part for key, part in value.items() if key != "decode"}
            return {**rest, "preprocessing": {"decode": value["decode"], **value["preprocessing"]}}
        return value

    @field_validator("preprocessing")
    @classmethod
    def _known_preprocessing(cls, value: PreprocessingSpec) -> PreprocessingSpec:
        fault = value.fault()
        if fault is not None:
            raise ValueError(fault)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [entry.name for entry in self.findings]
        if len(set(names)) != len(names):
            raise ValueError(f"a finding is named twice: {names}")
        if self.calibration.origin is Origin.FACTORY and any(e.thresholds.has_low for e in self.findings):
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
