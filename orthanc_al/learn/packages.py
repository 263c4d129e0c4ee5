"""Packages as a night takes them: what the ledger says, and embeddings that fit the head."""

from orthanc_al.errors import ModelError
from orthanc_al.inference.head_swap import read_head
from orthanc_al.inference.package import ModelPackage, load_known
from orthanc_al.learn.snapshot import Snapshot
from orthanc_al.ledger.models import RegisteredModel


def load(model: RegisteredModel) -> ModelPackage:
    """Return the package of a row of the registry.

    Raises
    ------
    PackageRefusedError
        The folder holds another one, or its digests do not hold.
    """
    return load_known(model.folder, model.ref)


def check_length(snapshot: Snapshot, package: ModelPackage) -> None:
    """Refuse embeddings that a package's head can't take; the snapshot has at least one case.

    Raises
    ------
    ModelError
        Says both lengths.
    """
    length = snapshot.cases[0].embedding.size
    wanted = read_head(package.contents.model)[0].shape[0]
    if length != wanted:
        raise ModelError(
            f"The ledger's embeddings have length {length}, the head of {package.ref} takes {wanted}: these "
            "predictions are not by its backbone. The live package stays; restore the ledger or the package."
        )
