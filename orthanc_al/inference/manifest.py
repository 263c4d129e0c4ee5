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
from orthanc_al.domain.criteria import Criteria
from orthanc_al.domain.grouping import Grouping
from orthanc_al.domain.model import Finding
from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.errors import PackageRefusedError
from orthanc_al.methods.calibration import Calibrator

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


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


class _Table(BaseModel):
    """A TOML table: frozen, and an unknown key is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Origin(StrEnum):
    """Whose audit labels a calibrator and thresholds come from."""

    FACTORY = "factory"
    SITE = "site"


def _in_order(low: float | None, high: float | None) -> None:
    if low is not None and high is not None and low > high:
        raise ValueError(f"low ({low}) is above high ({high}): a study would be both")


class GroupThresholds(_Table):
    """Borders of one group of studies, from the audit labels of that group alone.

    Attributes
    ----------
    positives, negatives
        How many labels of each class are behind ``low`` and ``high``.
    """

    name: str
    high: Probability | None = None
    low: Probability | None = None
    positives: Annotated[int, Field(ge=0)]
    negatives: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _in_order(self.low, self.high)
        return self


class Groups(_Table):
    """Borders group by group (Mondrian: Vovk, Gammerman & Shafer 2005), and which attribute makes them.

    A group that is not among ``borders`` has no audit label: nothing of it is ranked low.
    """

    by: Grouping
    borders: tuple[GroupThresholds, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [group.name for group in self.borders]
        if self.by is Grouping.NONE or len(set(names)) != len(names):
            raise ValueError(
                f"groups are made by an attribute and named once each, not by {self.by!r}: {names}"
            )
        return self

    def get(self, name: str) -> GroupThresholds | None:
        """Return the borders of a group, None where it has none."""
        return next((group for group in self.borders if group.name == name), None)


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
    groups
        The same group by group, where the site asks for the guarantee in each of them.
    """

    operating: Probability
    high: Probability | None = None
    low: Probability | None = None
    groups: Groups | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _in_order(self.low, self.high)
        return self

    @property
    def has_low(self) -> bool:
        """Whether anything could be ranked low by these."""
        grouped = self.groups.borders if self.groups is not None else ()
        return self.low is not None or any(group.low is not None for group in grouped)

    def borders(self, by: Grouping, group: str) -> tuple[float | None, float | None]:
        """Return (low, high) for a study of a group.

        Where the site asks for a guarantee in each group, a group that has no border of its own, or a
        package that was made without groups, gives no low tier. The high border of such a group is that of
        all studies.
        """
        if by is Grouping.NONE:
            return self.low, self.high
        own = self.groups.get(group) if self.groups is not None and self.groups.by is by else None
        if own is None:
            return None, self.high
        return own.low, own.high if own.high is not None else self.high


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


class Intended(_Table):
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


class Series(_Table):
    """A model of the slices of CT and MR: each is scored as it arrives, and the stack is looked at.

    Attributes
    ----------
    placed
        Whether a slice has to name its place in the patient.
    """

    placed: bool = True


class Run(_Table):
    """How the network is run.

    Attributes
    ----------
    thresholds_on
        Device that calibrators and thresholds were computed on: on another one they hold only after the
        parity test (`orthanc_al.inference.running.PARITY`).
    precision
        Of the weights, as the package's maker says; no command of ours makes one in half precision.
    batch
        Images a run at most; 0: what suits the device.
    tensorrt
        Ask for TensorRT before CUDA.
    """

    thresholds_on: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    precision: Literal["fp32", "fp16"] = "fp32"
    batch: Annotated[int, Field(ge=0)] = 0
    tensorrt: bool = False


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
    version: Annotated[str, Field(min_length=1)]
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
