"""Files in the DICOM File Format (PS3.10 7) of others: what is needed to send them as they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from orthanc_al.domain.identity import IMPLEMENTATION_CLASS_UID
from orthanc_al.errors import NotAnInstanceError

_MAGIC = b"\0" * 128 + b"DICM"
_META_AT_MOST = 1 << 16  # bytes; group 0002 of any file is far shorter


@dataclass(frozen=True, slots=True)
class Part10File:
    """A file whose data set can be sent.

    Attributes
    ----------
    data_set_offset
        Bytes before the data set; 0 for a bare data set without preamble and File Meta Information.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_offset: int

    def data_set(self) -> bytes:
        """Return the data set's bytes as they are in the file."""
        with self.path.open("rb") as file:
            file.seek(self.data_set_offset)
            return file.read()


def head(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return preamble, prefix and File Meta Information for a data set of that syntax."""
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # the writer puts the right one in
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    buffer = DicomBytesIO()
    buffer.write(_MAGIC)
    write_file_meta_info(buffer, meta, enforce_standard=False)
    return bytes(buffer.getvalue())


@dataclass(frozen=True, slots=True)
class Part10Stream:
    """A file that comes piece by piece.

    Attributes
    ----------
    data_set
        The data set's bytes, as they are in the file.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: Iterator[bytes]


def split(pieces: Iterator[bytes]) -> Part10Stream:
    """Part a file that comes piece by piece into what it is and its data set.

    Raises
    ------
    NotAnInstanceError
        It does not begin as PS3.10 7.1 says, or names no SOP class, SOP instance or transfer syntax.
    """
    begin = b""
    for piece in pieces:
        begin += piece
        if len(begin) > _META_AT_MOST:
            break
    if begin[128:132] != b"DICM":
        raise NotAnInstanceError("it is no DICOM file: it has no preamble (PS3.10 7.1)")
    offset = 132 + _group_0002_length(begin[132:])
    try:
        meta = dcmread(BytesIO(begin[:offset]), force=True).file_meta
        named = (
            str(meta.get("MediaStorageSOPClassUID", "")),
            str(meta.get("MediaStorageSOPInstanceUID", "")),
            str(meta.get("TransferSyntaxUID", "")),
        )
    except Exception as error:  # pydicom raises anything for what is no DICOM
        raise NotAnInstanceError(
            f"its File Meta Information can't be read ({type(error).__name__})"
        ) from error
    if not all(named):
        raise NotAnInstanceError("its File Meta Information names no SOP class, SOP instance or syntax")
    return Part10Stream(*named, chain([begin[offset:]], pieces))


def read(path: Path) -> Part10File:
    """Find out what a file is, with or without preamble; its data set is not looked at beyond that.

    Raises
    ------
    NotAnInstanceError
        It is no DICOM file, or names no SOP class, SOP instance or transfer syntax.
    """
    try:
        with path.open("rb") as file:
            dataset = dcmread(
                file,
                force=True,
                stop_before_pixels=True,
                specific_tags=["SOPClassUID", "SOPInstanceUID"],
            )
            meta, offset = dataset.file_meta, _data_set_offset(path)
        sop_class = str(meta.get("MediaStorageSOPClassUID") or dataset.get("SOPClassUID") or "")
        sop_instance = str(meta.get("MediaStorageSOPInstanceUID") or dataset.get("SOPInstanceUID") or "")
        syntax = str(meta.get("TransferSyntaxUID") or _guessed_syntax(dataset.original_encoding))
    except Exception as error:  # pydicom raises anything for what is no DICOM
        raise NotAnInstanceError(f"{path.name} is no DICOM file ({type(error).__name__}: {error})") from error
    if not (sop_class and sop_instance):
        raise NotAnInstanceError(f"{path.name} names no SOP class or no SOP instance: nothing to send it as")
    return Part10File(path, sop_class, sop_instance, syntax, offset)


def _guessed_syntax(encoding: tuple[bool | None, bool | None]) -> UID:
    implicit, little_endian = encoding
    if not little_endian:
        return UID("1.2.840.10008.1.2.2")
    return UID("1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1")


def _data_set_offset(path: Path) -> int:
    """Return where group 0002 ends (PS3.10 7.1: always Explicit VR Little Endian)."""
    with path.open("rb") as file:
        start = 132 if file.read(132)[128:] == b"DICM" else 0
        file.seek(start)
        return start + _group_0002_length(file.read(1 << 20))


def _group_0002_length(data: bytes) -> int:
    position = 0
    while data[position : position + 2] == b"\x02\0" and len(data) >= position + 12:
        if data[position + 4 : position + 6] in (b"OB", b"UN"):
            position += 12 + int.from_bytes(data[position + 8 : position + 12], "little")
        else:
            position += 8 + int.from_bytes(data[position + 6 : position + 8], "little")
    return position
