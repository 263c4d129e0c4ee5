"""What a fine-tuning night is given: plain data, without torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from orthanc_al.inference.package import ModelPackage
from orthanc_al.learn.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Start:
    """What a fine-tuning night starts from.

    Attributes
    ----------
    champion, backbone, factory
        The live package, the one whose backbone it has, and the factory's; the last two may be the same.
    files
        Names in the training cache by (Study Instance UID, instance, frame).
    time
        Seconds since 1970.
    """

    champion: ModelPackage
    backbone: ModelPackage
    factory: ModelPackage
    snapshot: Snapshot
    files: Mapping[tuple[str, str, int], str]
    time: float
