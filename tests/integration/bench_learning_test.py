"""`make bench-learning` in its short form: on made-up films, all the way to page and plots."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid
from rich.console import Console

from orthanc_al.errors import ConfigurationError
from tests.bench.learning import images
from tests.support.factory import made_up_films, write_films


@pytest.mark.needs_torch
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_a_folder_of_films_becomes_a_page_with_every_strategy_and_plots(tmp_path: Path) -> None:
    from tests.bench.learning.__main__ import run  # noqa: PLC0415 - torch is an extra
    from tests.bench.learning.curves import STRATEGIES  # noqa: PLC0415
    from tests.bench.learning.measuring import SHORT  # noqa: PLC0415

    data = write_films(made_up_films(300), tmp_path / "films")
    bars = run(data, tmp_path / "out", tmp_path / "work", SHORT, Console(quiet=True))
    page = (tmp_path / "out" / "learning-figures.md").read_text()
    assert all(f"| {one.name} |" in page or f"**{one.name}**" in page for one in STRATEGIES)
    assert {"holds", "**missed**"} & set(page.replace("|", " ").split())
    assert any(bar.measure.startswith("V:") for bar in bars)
    assert len(list((tmp_path / "out" / "learning-figures").glob("*.svg"))) == 5
    assert list((tmp_path / "work").glob("*.pt"))
    assert len(list((tmp_path / "work" / "curves").glob("*.json"))) == 8 * SHORT.seeds


def _write(folder: Path, lines: list[str]) -> Path:
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def _dicom(path: Path, pixels: np.ndarray) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)


def test_any_kind_of_image_is_read_and_what_can_t_be_is_counted(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["path,label,patient,study"]
    for number in range(44):
        name, grey = f"{number}.png", random.integers(0, 255, (60 + number, 80), np.uint8)
        if number == 0:
            name = "0.jpeg"
            cv2.imwrite(str(tmp_path / name), np.dstack([grey, grey, grey]))
        elif number == 1:
            name = "1.dcm"
            _dicom(tmp_path / name, grey.astype(np.uint16) * 16)
        elif number == 2:
            cv2.imwrite(str(tmp_path / name), grey.astype(np.uint16) * 100)
        else:
            cv2.imwrite(str(tmp_path / name), grey)
        lines.append(f"{name},{number % 2},p{number},s{number}")
    (tmp_path / "bad.png").write_bytes(b"no image")
    cv2.imwrite(str(tmp_path / "copy.png"), cv2.imread(str(tmp_path / "5.png")))
    lines += ["bad.png,1,px,sx", "none.png,0,py,sy", "copy.png,1,p5,s5"]
    lines += [f"{n}.png,{n % 2},pz,sz" for n in (10, 11)]
    found = images.load(_write(tmp_path, lines))
    assert found.films.images.shape == (44, images.SIDE, images.SIDE)
    assert found.left_out == {
        "study with two labels or two patients": 2,
        "no image that can be read": 1,
        "no such file": 1,
        "exact copy of another image": 1,
    }
    assert found.kinds == ()


def test_of_a_long_study_slices_at_equal_distances_are_taken(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["path,label,patient,study"]
    for number in range(44):
        for part in range(40 if number == 0 else 1):
            cv2.imwrite(str(tmp_path / f"{number}-{part}.png"), random.integers(0, 255, (32, 32), np.uint8))
            lines.append(f"{number}-{part}.png,{number % 2},p{number},s{number}")
    found = images.load(_write(tmp_path, lines))
    assert (found.studies == "s0").sum() == images.MOST_IMAGES_A_STUDY


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["path,label", "a.png,1"], "no column patient"),
        (["path,label,patient", "a.png,2,p"], "0 or 1"),
        (["path,label,patient", "a.png,1,p"], "20 of each"),
    ],
)
def test_a_manifest_that_does_not_do_says_why(tmp_path: Path, lines: list[str], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        images.load(_write(tmp_path, lines))
    with pytest.raises(ConfigurationError, match=r"manifest\.csv"):
        images.load(tmp_path / "nowhere")
