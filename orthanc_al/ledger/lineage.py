"""Which package came of which: whose backbone it has, and which factory's it descends from."""

from typing import Final

from sqlalchemy import Connection

from orthanc_al.ledger import models
from orthanc_al.ledger.models import CONVERTED, RegisteredModel

_SAME_BACKBONE: Final = frozenset({"retrained", CONVERTED})
"""Origins that keep the embeddings: a new head, or another precision that passed the parity test."""


def anchor(connection: Connection, digest: str) -> RegisteredModel:
    """Return the package that gave ``digest`` its backbone: the head's prior, and the gate's anchor.

    That is the factory's, or one that was fine-tuned. Head swaps keep the backbone, so packages with the
    same anchor have bit-equal embeddings, but for those in half precision: they are equal as far as the
    parity test bears.
    """
    model = models.get(connection, digest)
    while model.origin in _SAME_BACKBONE and model.parent is not None:
        model = models.get(connection, model.parent)
    return model


def fitted(connection: Connection, digest: str) -> RegisteredModel:
    """Return the package whose head and thresholds ``digest`` has: itself, or what it was converted from."""
    model = models.get(connection, digest)
    while model.origin == CONVERTED and model.parent is not None:
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
        model.ref.digest: model.parent if model.origin in _SAME_BACKBONE else None
        for model in models.versions(connection)
    }
    root = anchor(connection, digest).ref.digest
    return frozenset(one for one in parents if _root(one, parents) == root)


def _root(digest: str, parents: dict[str, str | None]) -> str:
    parent = parents[digest]
    return digest if parent is None else _root(parent, parents)
