"""Our own documents as bytes: Explicit VR Little Endian (PS3.5 A.2), text in UTF-8.

pydicom writes them, too, and does in each item what it did in the whole: it looks through all that is below
for ambiguous VRs, and makes a buffer for each element. A report has some 250 elements in some 70 items, and
took eight times as long. What is not a sequence or a string is left to it here.
"""

import struct
from collections.abc import Iterator
from typing import Final

from pydicom import DataElement, Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr_element, write_data_element

from orthanc_al.report.evidence import UTF_8

_SHORT: Final = struct.Struct("<HH2sH")  # group, element, VR, length (PS3.5 7.1.2)
_LONG: Final = struct.Struct("<HH2sxxL")
_ITEM: Final = struct.Struct("<HHL")
# Only what the character set applies to may be other than of the default repertoire; Latin-1 is what
# pydicom takes for that.
_CODECS: Final = {
    **dict.fromkeys(("LO", "LT", "SH", "ST", "UT"), "utf-8"),
    **dict.fromkeys(("CS", "UI"), "latin-1"),
}
_LONGEST: Final = 0x3FFF  # characters; their bytes' number fits into a short length


def encoded(document: Dataset) -> bytes:
    """Return a data set in UTF-8 (ISO_IR 192) without File Meta Information, as pydicom would write it.

    Parameters
    ----------
    document
        Made here: none of its elements is raw, none of its sequences has an undefined length.
    """
    return b"".join(_elements(document))


def _elements(dataset: Dataset) -> Iterator[bytes]:
    for element in dataset:
        group, number = element.tag.group, element.tag.element
        vr, value = element.VR, element.value
        if vr == "SQ":
            items = b"".join(part for item in value for part in _item(item))
            yield _LONG.pack(group, number, b"SQ", len(items))
            yield items
        elif vr in _CODECS and isinstance(value, str) and len(value) <= _LONGEST:
            text = value.encode(_CODECS[vr])
            if len(text) % 2:
                text += b"\0" if vr == "UI" else b" "
            header = _LONG if vr == "UT" else _SHORT
            yield header.pack(group, number, vr.encode(), len(text))
            yield text
        else:
            yield _by_pydicom(element, dataset)


def _item(item: Dataset) -> tuple[bytes, bytes]:
    content = encoded(item)
    return _ITEM.pack(0xFFFE, 0xE000, len(content)), content


def _by_pydicom(element: DataElement, dataset: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_data_element(buffer, correct_ambiguous_vr_element(element, dataset, True), UTF_8)
    return bytes(buffer.getvalue())
