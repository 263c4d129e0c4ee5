"""Which model is for which image, and in words why none is. Pure."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from orthanc_al.domain.criteria import Criteria, Traits
from orthanc_al.inference.manifest import Manifest
from orthanc_al.ledger.instances import KnownInstance

EAGER: Final = frozenset({"CR", "DX", "MG"})
"""Modalities whose images are scored as they arrive, as slices are where the model is one of slices; for the
others completion comes first."""

# Secondary capture and its multi-frame kin (PS3.4 B.5): screens, dose pages, montages.
_CAPTURE: Final = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.7(\..*)?")


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A model by name, and the images that the site uses it for.

    Attributes
    ----------
    fault
        Why it can't be run now; empty where it can.
    """

    name: str
    criteria: Criteria
    fault: str = ""


def no_match(use: ModelUse, manifest: Manifest | None, traits: Traits, sop_class: str = "") -> str | None:
    """Return why a model is not for an image, None where it is.

    Parameters
    ----------
    manifest
        Of the model's package: what it was made for holds beside what the site uses it for.
    """
    against = use.criteria.against(traits)
    if against is not None:
        return f"no model is configured for {against}"
    if manifest is None:
        return None
    against = manifest.intended.criteria.against(traits)
    if against is not None:
        return f"the model {use.name} is not made for {against}"
    if manifest.series is not None and _CAPTURE.fullmatch(sop_class):
        return f"a secondary capture is no slice for the model {use.name}"
    return None


def no_study_match(use: ModelUse, manifest: Manifest, images: int) -> str | None:
    """Return why a model is not for a study of so many images, None where it is."""
    against = use.criteria.against_study(images)
    if against is not None:
        return f"no model is configured for {against}"
    against = manifest.intended.criteria.against_study(images)
    return None if against is None else f"the model {use.name} is not made for {against}"


def is_eager(modality: str, manifest: Manifest) -> bool:
    """Whether an image is scored as it arrives."""
    return modality in EAGER or manifest.series is not None


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
