"""Our decoding plugin against the reference decoders, on every public file that they decode.

JPEG: the decoder of the Independent JPEG Group in DCMTK's dcmdjpeg; JPEG-LS: CharLS in pyjpegls; JPEG 2000
and HTJ2K: OpenJPEG in Pillow. Lossless syntaxes give the same values, lossy ones are within one grey level.
"""

import csv
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

from orthanc_al.imaging import codecs

LOSSY = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEG2000, uid.HTJ2K}
DCMTK = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1}
# Where the reference itself is wrong or there is none: why, by the end of the file's name.
NO_REFERENCE = {
    "TOSHIBA_J2K_SIZ1_PixRep0.dcm": "Pillow adds 32768: the codestream is signed, the header says unsigned",
    "J2K_pixelrep_mismatch.dcm": "pydicom's Pillow plugin can't write into what it made",
    "GDCMJ2K_TextGBR.dcm": "Pillow takes it for a broken stream",
    "HTJ2KLossless_08_RGB.dcm": "pydicom lets no other plugin decode HTJ2K",
    "HTJ2K_08_RGB.dcm": "pydicom lets no other plugin decode HTJ2K",
}


def _frames(dataset: pydicom.Dataset, plugin: str) -> list[NDArray[np.generic]]:
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    return [pixels for pixels, _ in decoder.iter_array(dataset, raw=True, decoding_plugin=plugin)]


def _reference(path: Path, dataset: pydicom.Dataset, folder: Path) -> list[NDArray[np.generic]]:
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in DCMTK:
        return _frames(dataset, "pyjpegls" if syntax in uid.JPEGLSTransferSyntaxes else "pillow")
    plain = folder / "plain.dcm"
    plain.unlink(missing_ok=True)
    command = ["dcmdjpeg", "+cn", path, plain]  # +cn: colours as they are
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        return _frames(dataset, "pillow")  # a header that DCMTK does not take
    decoded = pydicom.dcmread(plain)
    return [pixels for pixels, _ in get_decoder(uid.ExplicitVRLittleEndian).iter_array(decoded, raw=True)]


def _compressed(data: Path) -> list[Path]:
    with (data / "dicom/INDEX.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["ts_uid"] in codecs.SYNTAXES]
    whole = [row for row in rows if row["decode"] == "ok" and row["preamble"] == "yes"]
    return [data / "dicom" / row["source"] / row["path"] for row in whole]


@pytest.mark.needs_data
@pytest.mark.needs_dcmtk
def test_ours_gives_what_the_reference_decoders_give(data: Path, tmp_path: Path):
    codecs.register()
    wrong, compared, left_out = [], 0, set()
    for path in _compressed(data):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            ours = _frames(dataset, codecs.PLUGIN)
            if path.name in NO_REFERENCE:
                left_out.add(path.name)
                continue
            reference = _reference(path, dataset, tmp_path)
        most = 1 if dataset.file_meta.TransferSyntaxUID in LOSSY else 0
        apart = max(
            int(np.abs(one.astype(int) - other.astype(int)).max())
            for one, other in zip(ours, reference, strict=True)
        )
        compared += 1
        if apart > most:
            wrong.append((path.name, apart))
    assert wrong == []
    assert compared >= 85
    assert left_out == set(NO_REFERENCE)
