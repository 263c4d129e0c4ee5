"""Part 10 files to pydicom data sets, whatever the bytes are: this is the border of what we trust.

pydicom raises what it likes on malformed bytes (struct.error, RecursionError on deep nesting,
NotImplementedError on unknown VRs ...), and its messages may quote a person's name. Here every one of
them becomes an error of ours that names the kind of fault alone.
"""

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

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

_PIXEL_DATA: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})


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
        return _read(path, header_only=True)


def read_image(path: Path) -> FileDataset:
    """Return the whole data set, pixel data undecoded.

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
        return _read(path, header_only=False)


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


def _read(path: Path, *, header_only: bool) -> FileDataset:
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return _read_deflated(path, meta, header_only=header_only)
    dataset: FileDataset = dcmread(path, stop_before_pixels=header_only)
    return dataset


def _read_deflated(path: Path, meta: FileMetaDataset, *, header_only: bool) -> FileDataset:
    """Inflate with a bound: pydicom inflates whatever comes (PS3.5 A.5, RFC 1951)."""
    start = 144 + int(meta.FileMetaInformationGroupLength)  # preamble, prefix and the group length itself
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(path.read_bytes()[start:], MAX_DATA_SET)
    if inflater.unconsumed_tail:
        raise UndecodableError(f"the deflated data set is larger than {MAX_DATA_SET >> 20} MiB")
    dataset = read_dataset(
        io.BytesIO(inflated),
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=_at_pixel_data if header_only else None,
    )
    return FileDataset(path, dataset, b"\0" * 128, meta, is_implicit_VR=False, is_little_endian=True)


def _at_pixel_data(tag: BaseTag, vr: str | None, length: int) -> bool:
    del vr, length
    return int(tag) in _PIXEL_DATA
