"""The training cache: the model inputs of labelled and drawn cases, kept when the spool is cleaned.

Embeddings stay in the ledger. With the inputs another backbone can be trained, and old reads be embedded
anew. A file holds pixels after preprocessing and nothing of the header, under a name that is a digest;
`orthanc_al.ledger.training_cache` knows whose it is, so that a person can be forgotten.
"""

import hashlib
import os
import tempfile
from itertools import groupby
from pathlib import Path

import numpy as np

from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.errors import InstanceError, StorageError
from orthanc_al.imaging.model_input import ModelInput, model_inputs
from orthanc_al.inference.package import load_package
from orthanc_al.ledger import Ledger, models, training_cache
from orthanc_al.ledger.training_cache import WantedInput
from orthanc_al.observe import Clock, logger, now
from orthanc_al.spool import Spool
from orthanc_al.spool.disk import fsync_folder

_log = logger("learn")


class InputKeeper:
    """Keeps the model inputs that learning may want, before the spool lets go of the files.

    Parameters
    ----------
    ledger
        Knows which cases are labelled or drawn.
    spool
        Has the files.
    folder
        ``storage.training_cache``.
    clock
        Seconds since 1970; tests pass their own.
    """

    def __init__(self, ledger: Ledger, spool: Spool, folder: Path, clock: Clock = now) -> None:
        self._ledger = ledger
        self._spool = spool
        self._folder = folder
        self._clock = clock

    def keep(self) -> int:
        """Keep all inputs that are wanted and not yet there; return how many were written.

        To be called before files of the spool are removed. A file that can't be read any more is left
        out and told in the log: its reads still train the head, by the embedding.
        """
        with self._ledger.read() as connection:
            wanted = training_cache.wanted(connection)
            names = {image.model_name for image in wanted}
            live = {name: models.champion(connection, name) for name in names}
        specs = {
            name: load_package(model.folder).manifest.preprocessing
            for name, model in live.items()
            if model is not None
        }
        kept = 0
        for (instance_id, name), images in groupby(
            wanted, key=lambda image: (image.instance_id, image.model_name)
        ):
            if name in specs:
                kept += self._keep_instance(instance_id, list(images), specs[name])
        return kept

    def _keep_instance(self, instance_id: str, images: list[WantedInput], spec: PreprocessingSpec) -> int:
        try:
            inputs = {one.frame: one for one in model_inputs(self._spool.path(instance_id), spec)}
        except (InstanceError, StorageError, OSError) as error:
            _log.warning("input_not_kept", study=images[0].study_instance_uid, reason=str(error))
            return 0
        found = [(image, inputs[image.frame]) for image in images if image.frame in inputs]
        written = [(image, self._write(image, one)) for image, one in found]
        if written:
            fsync_folder(self._folder)  # the spool's file is removed next, which may be of another disk
        with self._ledger.write() as connection:
            for image, file in written:
                training_cache.add(connection, image, file, f"{spec.name} {spec.version}", self._clock())
        return len(written)

    def _write(self, image: WantedInput, one: ModelInput) -> str:
        """Write float16 pixels, shape (1, size, size), durably but for the name; return that."""
        key = f"{image.study_instance_uid}|{image.instance_id}|{image.frame}"
        name = f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=self._folder, suffix=".part")
        unfinished = Path(part)
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.save(file, one.pixels.astype(np.float16), allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._folder / name)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        return name
