"""Any folder of images with a manifest, as squares of one size: PNG, JPEG or DICOM, grey or colour.

``manifest.csv`` has a line an image: ``path``, ``label`` (0 or 1, of the study), ``patient``; optionally
``study`` (images of one study share their label; else each image is its own), ``subtype`` (kinds of
disease), ``dup_of`` (not empty: a copy, left out). Exact copies are found by their pixels, too.
"""

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from orthanc_al.errors import ConfigurationError, OrthancAlError
from orthanc_al.imaging.decode import grey_images
from orthanc_al.learn.factory.dataset import FilmSet

SIDE = 224
MOST_IMAGES_A_STUDY = 12
"""Of longer studies, images at equal distances are taken: a head CT has 30 to 60 slices."""

_COLUMNS = ("path", "label", "patient")
Row = dict[str, str]


@dataclass(frozen=True)
class Images:
    """Images row by row, and the study that each belongs to.

    Attributes
    ----------
    films
        uint8 squares (n, SIDE, SIDE), labels, kinds of disease and patients, as the factory takes them.
    studies
        n study identifiers.
    kinds
        Names of the two most frequent kinds of disease, or empty.
    left_out
        Why, and how many.
    """

    films: FilmSet
    studies: np.ndarray
    kinds: tuple[str, ...]
    left_out: dict[str, int]


def load(folder: Path, tick: Callable[[], object] = lambda: None) -> Images:
    """Read the folder; an image that can't be read is left out and counted."""
    rows = _manifest(folder / "manifest.csv")
    left_out: Counter[str] = Counter()
    rows = _thinned([row for row in rows if not _is_copy(row, left_out)], left_out)

    def read(row: Row) -> np.ndarray | str:
        tick()
        return _square(folder / row["path"])

    with ThreadPoolExecutor(2) as pool:
        squares = list(pool.map(read, rows))
    kept, images, seen = [], [], set()
    for row, square in zip(rows, squares, strict=True):
        reason = square if isinstance(square, str) else None
        digest = hashlib.sha256(square).digest() if isinstance(square, np.ndarray) else b""
        reason = reason or ("exact copy of another image" if digest in seen else None)
        if reason:
            left_out[reason] += 1
            continue
        seen.add(digest)
        kept.append(row)
        images.append(square)
    return _assembled(folder, kept, images, dict(left_out))


def _manifest(path: Path) -> list[Row]:
    if not path.is_file():
        raise ConfigurationError(f"{path} is missing: DATA names a folder with images and a manifest.csv")
    with path.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ConfigurationError(f"{path} has no column {', '.join(missing)}")
        rows = list(reader)
    bad = [number for number, row in enumerate(rows, 2) if row["label"] not in ("0", "1")]
    if bad:
        raise ConfigurationError(f"{path}, line {bad[0]}: a label is 0 or 1 ({len(bad)} such lines)")
    return rows


def _is_copy(row: Row, left_out: Counter[str]) -> bool:
    copy = bool(row.get("dup_of"))
    left_out["copy by the manifest"] += copy
    return copy


def _thinned(rows: list[Row], left_out: Counter[str]) -> list[Row]:
    """Return at most `MOST_IMAGES_A_STUDY` images of each study, in their order, at equal distances."""
    by_study: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_study[_study(row)].append(row)
    kept = []
    for group in by_study.values():
        labels = {row["label"] for row in group}
        if len(labels) > 1 or len({row["patient"] for row in group}) > 1:
            left_out["study with two labels or two patients"] += len(group)
            continue
        places = np.unique(np.linspace(0, len(group) - 1, min(len(group), MOST_IMAGES_A_STUDY)).astype(int))
        left_out["slice between others of its study"] += len(group) - len(places)
        kept += [group[place] for place in places]
    return kept


def _study(row: Row) -> str:
    return row.get("study") or row["path"]


def _square(path: Path) -> np.ndarray | str:
    """Return a uint8 square, or why there is none."""
    if not path.is_file():
        return "no such file"
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if image is None:
        image = _dicom(path)
    if image is None or image.size == 0:
        return "no image that can be read"
    if image.dtype != np.uint8:
        low, high = np.percentile(image, (0.5, 99.5))
        scaled = (image.astype(np.float32) - low) / max(float(high - low), 1e-9)
        image = np.asarray(np.clip(scaled, 0.0, 1.0) * 255.0 + 0.5, np.uint8)
    shrinks = min(image.shape) >= SIDE
    return np.asarray(
        cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    )


def _dicom(path: Path) -> np.ndarray | None:
    """Return the middle frame as a reader sees it."""
    try:
        frames = [image.pixels for image in grey_images(path)]
    except OrthancAlError:
        return None
    return np.asarray(frames[len(frames) // 2], np.float32) if frames else None


def _assembled(
    folder: Path, rows: Sequence[Row], images: list[np.ndarray], left_out: dict[str, int]
) -> Images:
    labels = np.array([int(row["label"]) for row in rows], np.int64)
    patients = [row["patient"] for row in rows]
    enough = [len({p for p, y in zip(patients, labels, strict=True) if y == value}) for value in (0, 1)]
    if min(enough) < 20:
        raise ConfigurationError(
            f"{folder}: {enough[0]} patients without and {enough[1]} with the finding could be read; 20 of "
            f"each are the least (left out: {left_out or 'nothing'})"
        )
    kinds = Counter(row.get("subtype") or "" for row, y in zip(rows, labels, strict=True) if y == 1)
    kinds.pop("", None)
    names = tuple(name for name, _ in kinds.most_common(2))
    subtypes = [_kind(row, names) if y == 1 else 0 for row, y in zip(rows, labels, strict=True)]
    films = FilmSet(np.stack(images), labels, np.array(subtypes, np.int64), tuple(patients))
    studies = np.array([_study(row) for row in rows])
    return Images(films, studies, names if len(names) == 2 else (), {k: n for k, n in left_out.items() if n})


def _kind(row: Row, names: tuple[str, ...]) -> int:
    """Return 1 for the most frequent kind of disease, 2 for all others."""
    return 1 if not names or row.get("subtype") == names[0] else 2
