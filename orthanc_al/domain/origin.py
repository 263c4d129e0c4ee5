"""Where an instance came from."""

from dataclasses import dataclass
from typing import Literal

OriginKind = Literal["dicom", "orthanc", "own"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Who handed us an instance, and over which association.

    Attributes
    ----------
    calling_ae, called_ae, receiving_ae
        AE titles (PS3.8 9.3.2): who called, by which title we were called, and our own title.
    source
        Name of the peer in the configuration, ``ae:TITLE`` for one that is not listed there. What is
        forwarded never goes back to the peer of this name.
    association_id
        Association that it came by; None where it came by none.
    kind
        ``dicom``: by C-STORE; ``orthanc``: taken from Orthanc's REST API; ``own``: made by us.
    """

    calling_ae: str
    called_ae: str
    receiving_ae: str
    source: str
    association_id: str | None
    kind: OriginKind
