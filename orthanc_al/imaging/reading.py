"""Part 10 files to pydicom data sets, whatever the bytes are: this is the border of what we trust.

pydicom raises what it likes on malformed bytes (struct.error, RecursionError on deep nesting,
NotImplementedError on unknown VRs ...), and its messages may quote a person's name. Here every one of
them becomes an error of ours that names the kind of fault alone.
"""

import io
import mmap
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pydicom import config, dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from orthanc_al.errors import InstanceError, NotAnInstanceError, SpoolFileError, UndecodableError

# Values out of their VR's rules are common and harmless; the warnings would carry them to the log.
config.settings.reading_validation_mode = config.IGNORE

MAX_DATA_SET: Final = 2 << 30
"""Most bytes that a data set may take in memory, deflated ones after inflation."""

_PIXEL_DATA: Final = {
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}
_UNDEFINED: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class MappedImage:
    """A data set whose pixel data were left in the file.

    Attributes
    ----------
    header
        The data set up to its pixel data.
    keyword
        Of the element that holds the pixels (PS3.3 C.7.6.24), empty where there is none.
    vr
        Its value representation, empty where the transfer syntax is implicit.
    pixels
        Its value, as far as the file has it; a view of the mapped file (or of the inflated bytes),
        not a copy.
    """

    header: FileDataset
    keyword: str
    vr: str
    pixels: memoryview

    @property
    def is_in_file(self) -> bool:
        """Whether the pixels are in the file still, and take no memory of their own."""
        return isinstance(self.pixels.obj, mmap.mmap)


def read_header(path: Path) -> FileDataset:
    """Return the data set up to its pixel data.

    Raises
    ------
    NotAnInstanceError
        It can't be parsed as far as that.
    SpoolFileError
        There is no such file.
    """
    with _border(NotAnInstanceError, path):
        return _read_header(path)


def map_image(path: Path) -> MappedImage:
    """Return the data set with its pixel data mapped into memory: only what is looked at is read.

    Raises
    ------
    UndecodableError
        It can't be parsed, or is larger than `MAX_DATA_SET`.
    SpoolFileError
        There is no such file.
    """
    with _border(UndecodableError, path):
        if path.stat().st_size > MAX_DATA_SET:
            raise UndecodableError(f"the file is larger than {MAX_DATA_SET >> 20} MiB")
        meta = read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            inflated = _inflated(path, meta)
            file: BinaryIO = io.BytesIO(inflated)
            return _mapped(_deflated(path, meta, file), file, memoryview(inflated))
        with path.open("rb") as file:
            header: FileDataset = dcmread(file, stop_before_pixels=True)
            # The mapping lives as long as somebody looks at it, after the file was closed and removed too.
            return _mapped(header, file, memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))


@contextmanager
def _border(kind: type[InstanceError], path: Path) -> Iterator[None]:
    try:
        yield
    except InstanceError as error:
        raise kind(str(error)) from error
    except FileNotFoundError as error:
        raise SpoolFileError(f"There is no file {path.name} any more") from error
    except Exception as error:  # a named border: see the module's text
        raise kind(f"the data set can't be parsed ({type(error).__name__})") from error


def _read_header(path: Path) -> FileDataset:
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return _deflated(path, meta, io.BytesIO(_inflated(path, meta)))
    dataset: FileDataset = dcmread(path, stop_before_pixels=True)
    return dataset


def _mapped(header: FileDataset, file: BinaryIO, whole: memoryview) -> MappedImage:
    """Return the data set with the element that the parser stopped before (PS3.5 7.1)."""
    implicit, little = header.original_encoding
    order = "<" if little else ">"
    start = file.tell()
    head = bytes(whole[start : start + 12]).ljust(12, b"\0")
    if len(whole) < start + 8:
        return MappedImage(header, "", "", whole[:0])
    group, element = struct.unpack_from(f"{order}HH", head)
    vr = "" if implicit else head[4:6].decode("ascii", "replace")
    value, length = (8, head[4:8]) if implicit else (12, head[8:12])
    size = struct.unpack(f"{order}L", length)[0]
    begin = start + value
    end = len(whole) if size == _UNDEFINED else begin + size
    return MappedImage(header, _PIXEL_DATA.get(group << 16 | element, ""), vr, whole[begin:end])


def _inflated(path: Path, meta: FileMetaDataset) -> bytes:
    """Inflate with a bound: pydicom inflates whatever comes (PS3.5 A.5, RFC 1951)."""
    start = 144 + int(meta.FileMetaInformationGroupLength)  # preamble, prefix and the group length itself
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(path.read_bytes()[start:], MAX_DATA_SET)
    if inflater.unconsumed_tail:
        raise UndecodableError(f"the deflated data set is larger than {MAX_DATA_SET >> 20} MiB")
    return inflated


def _deflated(path: Path, meta: FileMetaDataset, file: BinaryIO) -> FileDataset:
    dataset = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=_at_pixel_data)
    return FileDataset(path, dataset, b"\0" * 128, meta, is_implicit_VR=False, is_little_endian=True)


def _at_pixel_data(tag: BaseTag, vr: str | None, length: int) -> bool:
    del vr, length
    return int(tag) in _PIXEL_DATA
