"""The same data set in another transfer syntax, with nothing lost, for destinations that need it so."""

from io import BytesIO
from typing import Any, Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from orthanc_al.dicom import part10
from orthanc_al.errors import UndecodableError

# What every archive has to know (PS3.5 10.1), in the order in which we would send it.
UNCOMPRESSED: Final = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")

# Bytes of a word in the VRs whose values pydicom keeps as bytes (PS3.5 6.2).
_WORDS: Final = {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}


def transcode(data_set: bytes | memoryview, source: str, target: str) -> bytes:
    """Encode a data set anew.

    Pixel data that are compressed are decompressed as they are (no colour conversion), and the SOP
    Instance UID stays: it is the same object by its content.

    Parameters
    ----------
    data_set
        Encoded in the transfer syntax ``source``.
    target
        One of `UNCOMPRESSED`.

    Returns
    -------
    bytes
        Encoded in ``target``; every element reads back with the value that it had.

    Raises
    ------
    UndecodableError
        It can't be read, can't be decompressed, or would not be the same afterwards.
    """
    before = UID(source)
    try:
        dataset = _read(data_set, source)
        if before.is_encapsulated:
            dataset.decompress(as_rgb=False, generate_instance_uid=False)
        if not before.is_little_endian:
            _swap_words(dataset)
        encoded = _write(dataset, UID(target))
        same = _same(_read(encoded, target), dataset)
    except Exception as error:  # pydicom raises anything for a broken data set
        raise UndecodableError(
            f"it can't be re-encoded from {before.name} ({type(error).__name__}: {error})"
        ) from error
    if not same:
        raise UndecodableError(f"re-encoding it from {before.name} would change it")
    return encoded


def _read(data_set: bytes | memoryview, syntax: str) -> Dataset:
    dataset = dcmread(BytesIO(part10.head("1.2", "1.2", syntax) + bytes(data_set)))
    dataset.walk(lambda _, __: None)  # raw elements are decoded now, so that faults show here
    return dataset


def _write(dataset: Dataset, syntax: UID) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = syntax.is_implicit_VR
    buffer.is_little_endian = True
    write_dataset(buffer, dataset)
    return bytes(buffer.getvalue())


def _swap_words(dataset: Dataset) -> None:
    """Turn big-endian words around: pydicom keeps them as bytes and would write them as they are."""

    def swap(_: Dataset, element: Any) -> None:
        if element.VR == "UN" and element.value:
            raise ValueError(f"{element.tag} is of unknown VR: its byte order is not known")
        size = _WORDS.get(element.VR)
        if size and element.value:
            value = element.value
            element.value = b"".join(value[i : i + size][::-1] for i in range(0, len(value), size))

    dataset.walk(swap)


def _same(one: Dataset, other: Dataset) -> bool:
    """Whether two data sets have the same elements with the same values, whatever their VRs are called."""
    return one.keys() == other.keys() and all(
        _same_value(element.value, other[element.tag].value) for element in one
    )


def _same_value(one: Any, other: Any) -> bool:
    if isinstance(one, Sequence) and isinstance(other, Sequence):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
