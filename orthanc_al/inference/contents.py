"""What a model package holds beside manifest and card, and whether it fits together."""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from orthanc_al.errors import PackageRefusedError
from orthanc_al.inference.head_swap import read_head
from orthanc_al.inference.manifest import Manifest
from orthanc_al.methods.attention import Attention
from orthanc_al.methods.ood import Domain

MODEL: Final = "model.onnx"
DOMAIN: Final = "ood.npz"
POSTERIOR: Final = "head.npz"
ATTENTION: Final = "attention.npz"
REFERENCE: Final = "reference.npz"

OUTPUTS: Final = ("logits", "embedding", "feature_map")
"""Outputs of ``model.onnx``: shapes (n, k), (n, d) and (n, d, h, w)."""

# What NumPy and zipfile raise on an archive that is none, is damaged, or holds something else.
_UNREADABLE: Final = (
    AttributeError,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class PackageContents:
    """What a package holds beside manifest and card.

    Attributes
    ----------
    model
        Bytes of ``model.onnx``.
    domain
        Of the embeddings; None where the package knows none, and then nothing is out of it.
    covariance
        Posterior covariance of each head's (weight, bias), float32, shape (k, d + 1, d + 1); None
        where the head was not fitted with one.
    attention
        Over a study's images; None where ``aggregation`` is another.
    reference
        Embeddings, float32, shape (n, d), that the network which the thresholds were computed on gives for
        `orthanc_al.inference.reference.probes_for`; None where that is this one.
    """

    model: bytes
    domain: Domain | None = None
    covariance: NDArray[np.float32] | None = None
    attention: Attention | None = None
    reference: NDArray[np.float32] | None = None

    def files(self) -> dict[str, bytes]:
        """Return the bytes of each file by its name; the same contents give the same bytes."""
        files = {MODEL: self.model}
        if self.domain is not None:
            arrays = {"mean": self.domain.mean, "precision": self.domain.precision}
            files[DOMAIN] = _npz({**arrays, "limit": np.array(self.domain.limit)})
        if self.covariance is not None:
            files[POSTERIOR] = _npz({"covariance": self.covariance.astype(np.float32)})
        if self.attention is not None:
            arrays = {"projection": self.attention.projection, "weight": self.attention.weight}
            files[ATTENTION] = _npz(arrays)
        if self.reference is not None:
            files[REFERENCE] = _npz({"embedding": self.reference.astype(np.float32)})
        return files

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each file by its name, as the manifest states them."""
        return {name: hashlib.sha256(data).hexdigest() for name, data in self.files().items()}


def read_contents(files: Mapping[str, bytes], faults: list[str]) -> PackageContents:
    """Return what the files hold; what can't be read is left out and added to ``faults``."""

    def read(name: str, *keys: str) -> list[NDArray[np.float32]] | None:
        try:
            arrays = _arrays(files[name]) if name in files else None
            return None if arrays is None else [arrays[key] for key in keys]
        except _UNREADABLE as error:
            faults.append(f"{name} can't be read ({error})")
        return None

    domain = None
    if (arrays := read(DOMAIN, "mean", "precision", "limit")) is not None:
        try:
            domain = Domain(arrays[0], arrays[1], float(arrays[2]))
        except _UNREADABLE as error:
            faults.append(f"{DOMAIN} can't be read ({error})")
    attention = read(ATTENTION, "projection", "weight")
    (covariance,) = read(POSTERIOR, "covariance") or (None,)
    (reference,) = read(REFERENCE, "embedding") or (None,)
    return PackageContents(
        files[MODEL], domain, covariance, None if attention is None else Attention(*attention), reference
    )


def shape_faults(manifest: Manifest, contents: PackageContents) -> list[str]:
    """Return where inputs, outputs and arrays do not fit the manifest or one another."""
    try:
        graph = onnx.load_model_from_string(contents.model).graph
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer):
            return [f"{MODEL} keeps weights in other files, which no digest holds"]
        precision = "fp16" if _in_half(graph) else "fp32"
        weight, bias = read_head(contents.model)
    except (DecodeError, PackageRefusedError) as error:
        return [f"{MODEL} can't be used ({error})"]
    outputs = [value.name for value in graph.output]
    faults = list(_input_faults(graph, manifest))
    faults += [f"{MODEL} has no output {name!r}" for name in OUTPUTS if name not in outputs]
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        faults.append(f"{MODEL} has a head that is not all finite numbers")
    k, d = len(manifest.findings), weight.shape[0]
    if weight.shape != (d, k) or bias.shape != (k,):
        faults.append(f"{MODEL} has a head of shape {weight.shape}, the manifest names {k} findings")
    if precision != manifest.run.precision:
        faults.append(f"{MODEL} has weights of {precision}, the manifest says {manifest.run.precision}")
    domain, covariance = contents.domain, contents.covariance
    if domain is not None and not (
        domain.mean.shape == (d,) and domain.precision.shape == (d, d) and domain.limit > 0
    ):
        faults.append(f"{DOMAIN} does not fit embeddings of length {d}")
    if covariance is not None and covariance.shape != (k, d + 1, d + 1):
        faults.append(f"{POSTERIOR} does not fit {k} heads on embeddings of length {d}")
    faults += _reference_faults(contents.reference, manifest, d)
    return [*faults, *_attention_faults(contents.attention, manifest, d)]


def _in_half(graph: onnx.GraphProto) -> bool:
    """Whether some weights are in half precision; they may stand in nodes of their own, too."""
    nodes = (node for node in graph.node if node.op_type == "Constant")
    constants = (attribute.t for node in nodes for attribute in node.attribute)
    return any(one.data_type == onnx.TensorProto.FLOAT16 for one in (*graph.initializer, *constants))


def _input_faults(graph: onnx.GraphProto, manifest: Manifest) -> Iterator[str]:
    """Yield why what the preprocessing makes can't go into the model; the input's name is free."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        yield f"{MODEL} has {len(inputs)} inputs, one is fed"
        return
    spec = manifest.preprocessing
    wanted = (spec.channels, spec.size, spec.size)
    shape = tuple(dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim)
    if len(shape) != 4 or any(there not in (0, one) for there, one in zip(shape[1:], wanted, strict=True)):
        yield f"{MODEL} takes an input of shape {shape}, the preprocessing makes {('n', *wanted)}"


def _attention_faults(attention: Attention | None, manifest: Manifest, d: int) -> Iterator[str]:
    if (attention is not None) != (manifest.aggregation == "attention"):
        yield f"{ATTENTION} is there if and only if aggregation is attention"
    elif attention is not None:
        m = attention.weight.shape[0] if attention.weight.ndim == 1 else -1
        if attention.projection.shape != (m, d):
            yield f"{ATTENTION} does not fit embeddings of length {d}"


def _reference_faults(reference: NDArray[np.float32] | None, manifest: Manifest, d: int) -> Iterator[str]:
    if (reference is not None) != manifest.run.converted:
        yield f"{REFERENCE} is there if and only if run.thresholds_precision is not run.precision"
    elif reference is not None and (reference.ndim != 2 or len(reference) == 0 or reference.shape[1] != d):
        yield f"{REFERENCE} does not fit embeddings of length {d}"


def _npz(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _arrays(data: bytes) -> dict[str, NDArray[np.float32]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = dict(archive)
    for name, array in arrays.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"{name} is not all finite numbers")
    return arrays
