"""Which package came of which: whose backbone it has, and which factory's it descends from."""

from typing import Final

from sqlalchemy import Connection

from orthanc_al.ledger import models
from orthanc_al.ledger.models import RegisteredModel

_HEAD_ONLY: Final = "retrained"


def anchor(connection: Connection, digest: str) -> RegisteredModel:
    """Return the package that gave ``digest`` its backbone: the head's prior, and the gate's anchor.

    That is the factory's, or one that was fine-tuned. Head swaps keep the backbone, so packages with the
    same anchor have bit-equal embeddings.
    """
    model = models.get(connection, digest)
    while model.origin == _HEAD_ONLY and model.parent is not None:
        model = models.get(connection, model.parent)
    return model


def factory(connection: Connection, digest: str) -> RegisteredModel:
    """Return the factory package that ``digest`` descends from, whatever was fine-tuned in between."""
    model = models.get(connection, digest)
    while model.parent is not None:
        model = models.get(connection, model.parent)
    return model


def family(connection: Connection, digest: str) -> frozenset[str]:
    """Return the digests of all packages whose embeddings are those of ``digest``: the same anchor's."""
    parents = {
        model.ref.digest: model.parent if model.origin == _HEAD_ONLY else None
        for model in models.versions(connection)
    }
    root = anchor(connection, digest).ref.digest
    return frozenset(one for one in parents if _root(one, parents) == root)


def _root(digest: str, parents: dict[str, str | None]) -> str:
    parent = parents[digest]
    return digest if parent is None else _root(parent, parents)
