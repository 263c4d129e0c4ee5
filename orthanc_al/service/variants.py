"""Makes the half-precision variant of a package: a candidate that goes live by a person's word alone."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from orthanc_al.errors import ConfigurationError, InstanceError, ModelError, SpoolFileError
from orthanc_al.imaging.model_input import inputs_of
from orthanc_al.imaging.reading import map_image
from orthanc_al.inference.manifest import Manifest
from orthanc_al.inference.package import ModelPackage, load_known
from orthanc_al.inference.variant import Variant, variant_of
from orthanc_al.learn import load_plan
from orthanc_al.ledger import Ledger, models, shadow, trail, training_cache
from orthanc_al.ledger.models import CONVERTED, RegisteredModel
from orthanc_al.observe import now
from orthanc_al.settings import Settings

_MOST: Final = 500
_DAY: Final = 86400.0


def compare(
    settings: Settings, ledger: Ledger, name: str, version: str, paths: Sequence[Path] | None
) -> Variant:
    """Convert a package that was live, and compare the two networks.

    Parameters
    ----------
    version
        Or the start of its digest; the live one where empty.
    paths
        DICOM files to compare on; the training cache's images where None, up to 500 of either.

    Raises
    ------
    ModelError
        There is no such package, it never was live, or it can't be had in half precision.
    ConfigurationError
        None of the files is an image that can be used.
    """
    with ledger.read() as connection:
        model = models.find(connection, name, version) if version else models.live(connection, name)
        cached = list(training_cache.files(connection).values()) if paths is None else []
    if model is None:
        raise ModelError(f"There is no package {name} {version}; see `models list`.")
    if model.state != "promoted":
        raise ModelError(
            f"{model.ref} never was live: a variant is made of what the gate let through, or one could go "
            "round it."
        )
    parent = load_known(model.folder, model.ref)
    if paths is None:
        films = list(islice(_cached(settings.storage.training_cache, cached, parent.manifest), _MOST))
    else:
        films = list(islice(_decoded(paths, parent.manifest), _MOST))
        if not films:
            raise ConfigurationError("None of the files is an image that this model can be given.")
    return variant_of(parent, films, settings.inference.threads)


def keep(settings: Settings, ledger: Ledger, variant: Variant, *, by: str) -> RegisteredModel:
    """Write the variant and make it known as a candidate: it goes the way of all others from there.

    Raises
    ------
    ModelError
        Another candidate is in shadow, or the variant was refused before, or can't be written.
    PackageRefusedError
        Another package has its version.
    """
    folder = settings.storage.models / variant.parent.ref.name / variant.version
    with ledger.read() as connection:
        _check(connection, settings, variant)
    made = variant.write(folder)
    with ledger.write() as connection:
        _check(connection, settings, variant)
        _register(connection, variant, made, by)
        return models.get(connection, made.ref.digest)


def _register(connection: Connection, variant: Variant, made: ModelPackage, by: str) -> None:
    parent, figures = variant.parent.ref, variant.figures
    models.add(
        connection, made.ref, made.folder, parent=parent.digest, origin=CONVERTED, state="candidate", at=now()
    )
    trail.record(
        connection,
        by,
        "model_converted",
        made.ref.digest,
        model=made.ref.name,
        version=made.ref.version,
        parent=parent.digest,
        films=figures.films,
        logit_worst=figures.logit_worst,
        probability_worst=figures.probability_worst,
    )


def _check(connection: Connection, settings: Settings, variant: Variant) -> None:
    """Refuse what would take another candidate's place, or undo a refusal."""
    name = variant.parent.ref.name
    known = models.find(connection, name, variant.version)
    if known is not None and known.state == "refused":
        raise ModelError(f"{known.ref} was refused; `orthanc-al models show` tells why.")
    plan = load_plan(settings.learn.pccp).shadow
    waiting = shadow.in_shadow(connection, name)
    if waiting is None or waiting.origin == CONVERTED or not plan.rule.asks:
        return
    if now() - waiting.created_at <= plan.max_days * _DAY:
        raise ModelError(
            f"{waiting.ref} is in shadow, and a newer candidate would take its place: promote it, or wait "
            f"until its {plan.max_days:g} days are over."
        )


def _cached(folder: Path, names: Sequence[str], manifest: Manifest) -> Iterator[NDArray[np.float32]]:
    """Yield the training cache's model inputs of this model's size."""
    spec = manifest.preprocessing
    for name in sorted(names):
        try:
            pixels = np.load(folder / name, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            continue  # the learner's log tells of what is lost; here it is an image less
        if pixels.shape == (spec.channels, spec.size, spec.size) and np.isfinite(pixels).all():
            yield pixels.astype(np.float32)


def _decoded(paths: Sequence[Path], manifest: Manifest) -> Iterator[NDArray[np.float32]]:
    """Yield the model inputs of files; what is no image is left out, as `orthanc-al score` tells it."""
    for path in paths:
        try:
            for one in inputs_of(map_image(path), manifest.preprocessing, frames=manifest.frames):
                yield one.pixels
        except (InstanceError, SpoolFileError):  # or it went since the folder was listed
            continue
