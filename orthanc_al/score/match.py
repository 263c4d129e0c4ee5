"""Which model is for which image, and in words why none is. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from orthanc_al.ledger.instances import KnownInstance

EAGER: Final = frozenset({"CR", "DX", "MG"})
"""Modalities whose images are scored as they arrive; for the others completion comes first."""


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A model by name, and the images that the site uses it for.

    Attributes
    ----------
    modality
        Modalities, e.g. ``("CR", "DX")``.
    body_part
        Body parts in capitals; empty for any.
    """

    name: str
    modality: tuple[str, ...]
    body_part: tuple[str, ...] = ()


def no_match(use: ModelUse, modality: str, body_part: str) -> str | None:
    """Return why a model is not for an image, None where it is.

    An image that names no body part is taken: many devices never name one, and what is no chest, say,
    lies outside of the model's domain, which triage sees.
    """
    if modality not in use.modality:
        return f"no model is configured for modality {modality or 'unknown'}"
    if use.body_part and body_part and body_part not in use.body_part:
        return f"no model is configured for {modality} of {body_part}"
    return None


def reason_for_none(known: Collection[KnownInstance], reasons: Sequence[str]) -> str:
    """Return why a study has no score: the first thing that stood in the way.

    Parameters
    ----------
    known
        The study's instances.
    reasons
        Why images that a model is for gave none, in order.
    """
    if reasons:
        return reasons[0]
    unusable = [one.reason for one in known if one.kind == "unusable" and one.reason]
    return unusable[0] if unusable else "no image to score"
