"""The champions, and what they say of images of the spool."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from sqlalchemy import Connection

from orthanc_al.domain.criteria import Criteria, Traits
from orthanc_al.errors import InstanceError, SpoolFileError
from orthanc_al.imaging.header import traits_of
from orthanc_al.imaging.reading import MappedImage, map_image
from orthanc_al.inference.running import Models, RunningModel
from orthanc_al.ledger import Ledger, models
from orthanc_al.ledger.instances import KnownInstance
from orthanc_al.ledger.models import RegisteredModel
from orthanc_al.score.images import Made, score_together
from orthanc_al.score.match import ModelUse, no_match
from orthanc_al.spool import Spool


class SpooledImage:
    """An image of the spool: read when it is looked at, once for all models where it can be left in its file.

    What it is asked for raises `InstanceError` where the file can't be read, and `SpoolFileError` where it
    is not there.
    """

    def __init__(self, known: KnownInstance, path: Path) -> None:
        self.known = known
        self._path = path
        self._mapped: MappedImage | None = None

    def map(self) -> MappedImage:
        """Return the data set, its pixels left in the file.

        What had to be inflated is read again for another model: a batch of it would not fit into memory.
        """
        if self._mapped is not None:
            return self._mapped
        mapped = map_image(self._path)
        if mapped.is_in_file:
            self._mapped = mapped
        return mapped

    @cached_property
    def traits(self) -> Traits:
        """What a model may ask of it."""
        return traits_of(self.map().header)


class Champions:
    """Runs the champions on images of the spool.

    Parameters
    ----------
    ledger, spool
        Where champions and images are.
    running
        Loads packages.
    uses
        Which model is for which images.
    """

    def __init__(self, ledger: Ledger, spool: Spool, running: Models, uses: Sequence[ModelUse]) -> None:
        self._ledger = ledger
        self._spool = spool
        self._running = running
        self.uses = uses

    def champion(self, use: ModelUse) -> RunningModel | None:
        """Return the live package of a model, None where none was ever installed or it can't be run now."""
        if use.fault:
            return None
        with self._ledger.read() as connection:
            registered = models.champion(connection, use.name)
        return None if registered is None else self.running(registered)

    def registered(self, connection: Connection) -> dict[str, RegisteredModel | None]:
        """Return the live package of each model by name, None where none was ever installed."""
        return {use.name: models.champion(connection, use.name) for use in self.uses}

    def running(self, registered: RegisteredModel) -> RunningModel:
        """Return a package, loaded."""
        return self._running.get(registered.folder, registered.ref)

    def image(self, known: KnownInstance) -> SpooledImage:
        """Return an instance's image; nothing is read yet."""
        return SpooledImage(known, self._spool.path(known.instance.id))

    @staticmethod
    def no_match(use: ModelUse, model: RunningModel, image: SpooledImage) -> str | None:
        """Return why a model is not for an image, None where it is.

        Raises
        ------
        InstanceError, SpoolFileError
            Its header can't be read.
        """
        manifest, instance = model.package.manifest, image.known.instance
        traits = Traits(instance.modality or "")
        reason = no_match(ModelUse(use.name, Criteria(use.criteria.modality)), None, traits)
        if reason is not None:
            return reason  # without a look into the file
        if not (use.criteria.modality_alone and manifest.intended.criteria.modality_alone):
            traits = image.traits
        return no_match(use, manifest, traits, instance.sop_class_uid)

    @staticmethod
    def waits(use: ModelUse, image: SpooledImage) -> bool:
        """Whether an image is for a model that can't be run now; what can't be read is not."""
        try:
            return no_match(use, None, image.traits) is None
        except (InstanceError, SpoolFileError):
            return False

    @staticmethod
    def score(images: Sequence[SpooledImage], model: RunningModel) -> list[Made]:
        """Return the scores of the frames of each image, or why it has none.

        Raises
        ------
        ModelError
            The model gives no finite number, for whichever of them.
        """
        return score_together(((image.known.instance.id, image.map) for image in images), model)
