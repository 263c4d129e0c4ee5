"""What an instance is to us."""

import pytest

from orthanc_al.assemble.kind import kind_of
from orthanc_al.domain.concepts import MANUFACTURER
from orthanc_al.domain.header import Header

_STORAGE = "1.2.840.10008.5.1.4.1.1"


def _header(sop_class: str = f"{_STORAGE}.1.1", **values) -> Header:
    return Header("1.2", "1.2.1", sop_class, "1.2.3", **{"pixels": True, **values})


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (_header(), "image"),
        (_header(f"{_STORAGE}.7"), "image"),  # a secondary capture may be the only picture that there is
        (_header(image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")), "other"),
        (_header(f"{_STORAGE}.88.33", pixels=False), "report"),
        (_header(f"{_STORAGE}.88.59", pixels=False), "report"),
        (_header(f"{_STORAGE}.104.1", pixels=False, modality="DOC"), "other"),
        (_header(f"{_STORAGE}.66.4"), "other"),
        (_header(f"{_STORAGE}.11.1", pixels=False), "other"),
        (_header(f"{_STORAGE}.481.2"), "other"),
        (_header(f"{_STORAGE}.481.1"), "image"),
        (_header(manufacturer=MANUFACTURER), "own"),
        (_header(f"{_STORAGE}.88.33", manufacturer=MANUFACTURER, pixels=False), "own"),
    ],
)
def test_each_kind_is_told_by_its_header(header, kind):
    found, reason = kind_of(header)
    assert found == kind
    assert (reason is None) == (kind in ("image", "report"))
