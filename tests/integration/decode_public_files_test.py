"""All public DICOM files: grey ones decode, the others say why not, and nothing else is ever raised."""

import csv
from pathlib import Path

import pytest

from orthanc_al.errors import InstanceError
from orthanc_al.imaging.decode import grey_images
from orthanc_al.imaging.header import header_of
from orthanc_al.imaging.reading import read_header


def _rows(data: Path) -> list[dict[str, str]]:
    with (data / "dicom/INDEX.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _path(data: Path, row: dict[str, str]) -> Path:
    return data / "dicom" / row["source"] / row["path"]


def _is_grey(row: dict[str, str]) -> bool:
    return row["photometric"].startswith("MONOCHROME") and row["spp"] in ("", "1")


def _decoded(path: Path) -> tuple[int, str]:
    """Return how many frames decoded, and the reason where none did."""
    try:
        count = 0
        for image in grey_images(path):
            count += 1
            assert image.pixels.ndim == 2
            assert 0.0 <= image.pixels.min() <= image.pixels.max() <= 1.0
            assert image.padding is None or image.padding.shape == image.pixels.shape
    except InstanceError as error:
        return 0, str(error)
    return count, ""


@pytest.mark.needs_data
def test_every_grey_file_that_another_stack_decodes_is_decoded_and_every_other_has_its_reason(data: Path):
    wrong, decoded = [], 0
    for row in _rows(data):
        frames, reason = _decoded(_path(data, row))
        decoded += frames > 0
        assert frames or reason
        if row["decode"] == "ok" and _is_grey(row) and frames != int(row["frames"] or 1):
            wrong.append((row["path"], frames, reason))
    assert wrong == []
    assert decoded >= 226


def _modality(path: Path) -> str | None:
    """Return the modality, None where the header is refused."""
    try:
        return header_of(read_header(path)).modality
    except InstanceError:
        return None


@pytest.mark.needs_data
def test_every_header_is_read_or_refused_and_nothing_else(data: Path):
    read = {row["path"]: (_modality(_path(data, row)), row["modality"]) for row in _rows(data)}
    refused = [path for path, (found, _) in read.items() if found is None]
    assert {path: both for path, both in read.items() if both[0] and both[1] and both[0] != both[1]} == {}
    assert len(refused) <= 40, refused
