"""A model package on disk: a folder with manifest, model, domain and card, taken whole or not at all."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orthanc_al.domain.model import Finding, ModelRef
from orthanc_al.errors import PackageRefusedError
from orthanc_al.inference.contents import PackageContents, read_contents, shape_faults
from orthanc_al.inference.manifest import Manifest, parse_manifest

MANIFEST: Final = "manifest.toml"
CARD: Final = "MODEL_CARD.md"

_LARGEST: Final = 2**31 - 1
"""Bytes of a file: protobuf, which ONNX files are written in, reads no more."""

_TAKEN: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})
"""What a rename to a folder says that holds something (POSIX names both)."""


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
    contents = read_contents({name: data for name, data in files.items() if data is not None}, faults)
    faults += shape_faults(manifest, contents)
    if faults:
        raise _refused(folder, faults)
    ref = ModelRef(manifest.name, manifest.version, _package_digest(text, manifest))
    return ModelPackage(folder, ref, manifest, contents)


def load_known(folder: Path, ref: ModelRef) -> ModelPackage:
    """Return the package in ``folder``, which must be the one that the ledger knows.

    Raises
    ------
    PackageRefusedError
        The folder holds another one, or its digests do not hold.
    """
    package = load_package(folder)
    if package.ref.digest != ref.digest:
        raise PackageRefusedError(
            f"{folder} holds {package.ref}, and the ledger says {ref}: restore the package."
        )
    return package


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
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in _TAKEN:  # another process was there first
            return write_package(folder, manifest, contents, card)
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


def _read(path: Path) -> bytes | None:
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise PackageRefusedError(
                f"{path} has {size} bytes, of at most {_LARGEST}: it is not read (ONNX files that large keep "
                "their weights beside them, which no package does)"
            )
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
