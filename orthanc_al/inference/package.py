"""A model package on disk: a folder with manifest, model, domain and card, taken whole or not at all."""

import hashlib
import io
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from orthanc_al.domain.model import Finding, ModelRef
from orthanc_al.errors import PackageRefusedError
from orthanc_al.inference.head_swap import read_head
from orthanc_al.inference.manifest import Manifest, parse_manifest
from orthanc_al.methods.ood import Domain

MANIFEST: Final = "manifest.toml"
CARD: Final = "MODEL_CARD.md"
MODEL: Final = "model.onnx"
DOMAIN: Final = "ood.npz"
POSTERIOR: Final = "head.npz"

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
    """

    model: bytes
    domain: Domain | None = None
    covariance: NDArray[np.float32] | None = None

    def files(self) -> dict[str, bytes]:
        """Return the bytes of each file by its name; the same contents give the same bytes."""
        files = {MODEL: self.model}
        if self.domain is not None:
            arrays = {"mean": self.domain.mean, "precision": self.domain.precision}
            files[DOMAIN] = _npz({**arrays, "limit": np.array(self.domain.limit)})
        if self.covariance is not None:
            files[POSTERIOR] = _npz({"covariance": self.covariance.astype(np.float32)})
        return files

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each file by its name, as the manifest states them."""
        return {name: hashlib.sha256(data).hexdigest() for name, data in self.files().items()}


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A package whose digests hold.

    Attributes
    ----------
    ref
        Its digest is the SHA-256 over the manifest and the digests of the files.
    contents
        The very bytes that were verified; nothing is read from the folder afterwards.
    """

    folder: Path
    ref: ModelRef
    manifest: Manifest
    contents: PackageContents

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings, in the order of the logits."""
        return tuple(entry.finding for entry in self.manifest.findings)


def load_package(folder: Path) -> ModelPackage:
    """Return the package in ``folder``, after all of its digests and shapes have been verified.

    Raises
    ------
    PackageRefusedError
        The text lists every fault: files that are missing or were changed, outputs or arrays that
        do not fit the manifest.
    """
    text = _read(folder / MANIFEST)
    if text is None:
        raise PackageRefusedError(f"{folder} is no model package: it has no {MANIFEST}")
    manifest = parse_manifest(text)
    files = {name: _read(folder / name) for name in manifest.files}
    faults = list(_digest_faults(manifest, files))
    if faults:
        raise _refused(folder, faults)
    contents = _contents({name: data for name, data in files.items() if data is not None}, faults)
    faults += _shape_faults(manifest, contents)
    if faults:
        raise _refused(folder, faults)
    ref = ModelRef(manifest.name, manifest.version, _package_digest(text, manifest))
    return ModelPackage(folder, ref, manifest, contents)


def write_package(folder: Path, manifest: Manifest, contents: PackageContents, card: str) -> ModelPackage:
    """Write a package so that the folder is there complete or not at all, and return it as read back.

    Parameters
    ----------
    folder
        Must not exist, or hold this very package: a package is never changed in place.
    manifest
        Its ``files`` are ``contents.digests()``.
    card
        ``MODEL_CARD.md``, for people; it has no say in a result and no digest.

    Raises
    ------
    PackageRefusedError
        The manifest does not fit the contents, or another package is in the folder.
    """
    text = manifest.to_toml()
    if folder.exists():
        present = load_package(folder)
        if present.ref.digest != _package_digest(text, manifest):
            raise PackageRefusedError(
                f"{folder} holds {present.ref}: write the new package to another folder"
            )
        return present
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, data in {**contents.files(), MANIFEST: text, CARD: card.encode()}.items():
            _write_durably(unfinished / name, data)
        load_package(unfinished)
        unfinished.chmod(0o755)
        _sync_folder(unfinished)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    _sync_folder(folder.parent)
    return load_package(folder)


def _package_digest(text: bytes, manifest: Manifest) -> str:
    whole = hashlib.sha256(text)
    for name in sorted(manifest.files):
        whole.update(f"\n{name} {manifest.files[name]}".encode())
    return whole.hexdigest()


def _refused(folder: Path, faults: list[str]) -> PackageRefusedError:
    return PackageRefusedError(
        f"model package {folder} is refused: {'; '.join(faults)}; restore the package as it was made"
    )


def _digest_faults(manifest: Manifest, files: Mapping[str, bytes | None]) -> list[str]:
    faults = []
    for name, data in files.items():
        if data is None:
            faults.append(f"{name} is missing")
        elif hashlib.sha256(data).hexdigest() != manifest.files[name]:
            faults.append(f"{name} is not the file that the manifest describes (SHA-256 differs)")
    return faults


def _contents(files: Mapping[str, bytes], faults: list[str]) -> PackageContents:
    """Return what the files hold; what can't be read is left out and added to ``faults``."""
    domain, covariance = None, None
    try:
        if DOMAIN in files:
            arrays = _arrays(files[DOMAIN])
            domain = Domain(arrays["mean"], arrays["precision"], float(arrays["limit"]))
    except _UNREADABLE as error:
        faults.append(f"{DOMAIN} can't be read ({error})")
    try:
        if POSTERIOR in files:
            covariance = _arrays(files[POSTERIOR])["covariance"]
    except _UNREADABLE as error:
        faults.append(f"{POSTERIOR} can't be read ({error})")
    return PackageContents(files[MODEL], domain, covariance)


def _shape_faults(manifest: Manifest, contents: PackageContents) -> list[str]:
    """Return where outputs and arrays do not fit the manifest or one another."""
    try:
        graph = onnx.load_model_from_string(contents.model).graph
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer):
            return [f"{MODEL} keeps weights in other files, which no digest holds"]
        weight, bias = read_head(contents.model)
    except (DecodeError, PackageRefusedError) as error:
        return [f"{MODEL} can't be used ({error})"]
    outputs = [value.name for value in graph.output]
    faults = [f"{MODEL} has no output {name!r}" for name in OUTPUTS if name not in outputs]
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        faults.append(f"{MODEL} has a head that is not all finite numbers")
    k, d = len(manifest.findings), weight.shape[0]
    if weight.shape != (d, k) or bias.shape != (k,):
        faults.append(f"{MODEL} has a head of shape {weight.shape}, the manifest names {k} findings")
    domain, covariance = contents.domain, contents.covariance
    if domain is not None and not (
        domain.mean.shape == (d,) and domain.precision.shape == (d, d) and domain.limit > 0
    ):
        faults.append(f"{DOMAIN} does not fit embeddings of length {d}")
    if covariance is not None and covariance.shape != (k, d + 1, d + 1):
        faults.append(f"{POSTERIOR} does not fit {k} heads on embeddings of length {d}")
    return faults


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


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
