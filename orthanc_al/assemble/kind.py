"""What an instance is to us. Pure."""

import re
from typing import Final

from orthanc_al.domain.concepts import MANUFACTURER
from orthanc_al.domain.header import Header

# Structured reports (PS3.4 B.5: 88.*, Key Object Selection among them) may be reads.
_REPORTS: Final = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.88\..*")
# Rows and Columns, but no picture of a patient: segmentations, parametric maps, dose, presentation states.
_NO_PICTURES: Final = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(66\..*|30|481\.2|11\..*)")


def kind_of(header: Header) -> tuple[str, str | None]:
    """Return what an instance is to us, and a reason where that needs one.

    Returns
    -------
    tuple[str, str or None]
        ``own`` (made by us), ``report`` (may be a read), ``image``, or ``other``.
    """
    if header.manufacturer == MANUFACTURER:
        return "own", "made by orthanc_al"
    if _REPORTS.fullmatch(header.sop_class_uid):
        return "report", None
    if not header.pixels or _NO_PICTURES.fullmatch(header.sop_class_uid):
        return "other", f"no image ({header.modality or header.sop_class_uid})"
    if "LOCALIZER" in header.image_type:
        return "other", "a localizer"
    return "image", None
