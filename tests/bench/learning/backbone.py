"""The factory of site A, trained once, and what it sees of site B; both kept on disk by their digests."""

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console

from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.imaging.preprocess import preprocess
from orthanc_al.learn.factory.augment import SHIFT_S2, SHIFT_S4, random_film
from orthanc_al.learn.factory.dataset import FilmSet
from orthanc_al.learn.factory.export import embed
from orthanc_al.learn.factory.junk import black, cropped, inverted, noise, rotated
from orthanc_al.learn.factory.network import Network
from orthanc_al.learn.factory.training import Recipe, Trainer
from tests.bench.learning.images import Images
from tests.bench.learning.sites import Sites, rows_of

STEPS_OF_IMAGES: Final = 53_000
"""Images that training shows in all: 22 passes over the public data's site A."""

MOST_TRAINING_SECONDS: Final = 600
JUNK: Final = (noise, inverted, rotated, cropped, black)
JUNK_IMAGES: Final = 200
COPIES: Final = 3
SPEC: Final = PreprocessingSpec()

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
LOOKS: Final[dict[str, Change]] = {
    "plain": lambda film, _rng: film,
    "S2": SHIFT_S2.apply,
    "S4": SHIFT_S4.apply,
}


@dataclass(frozen=True)
class Seen:
    """Embeddings of everything that the benchmark needs, float32, by name; and how long training took.

    Names: ``A`` and ``A0``, ``A1`` (site A plain, and in two random views), ``plain``, ``S2``, ``S4``
    (site B by look), ``copy0`` ... (every fourth of site B
    exposed again by S4), ``junk``.
    """

    embeddings: dict[str, np.ndarray]
    training_seconds: float


def recipe_for(films: int, *, short: bool = False, seed: int = 0) -> Recipe:
    """Return the shipped recipe, with as many passes as show the same number of images; a short one: two."""
    passes = 2 if short else int(np.clip(round(STEPS_OF_IMAGES / films), 4, 60))
    return Recipe(seed=seed, epochs=passes)


def see(images: Images, sites: Sites, folder: Path, console: Console, recipe: Recipe | None = None) -> Seen:
    """Train, or take what was trained before; embed, or take what was embedded before."""
    films = rows_of(images.films, sites.a)
    recipe = recipe or recipe_for(len(films))
    made_of = f"{films.digest()} {asdict(recipe)} {asdict(SPEC)} {images.films.digest()}"
    name = hashlib.sha256(made_of.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    network, seconds = _network(films, recipe, folder / name, console)
    site_b = rows_of(images.films, sites.b)
    work: dict[str, tuple[np.ndarray, Change]] = {"A": (films.images, LOOKS["plain"])}
    work |= {f"A{view}": (films.images, random_film) for view in range(2)}
    work |= {look: (site_b.images, change) for look, change in LOOKS.items()}
    work |= {f"copy{n}": (site_b.images[::4], LOOKS["S4"]) for n in range(COPIES)}
    work["junk"] = (site_b.images[:: max(1, len(site_b) // JUNK_IMAGES)][:JUNK_IMAGES], _junk)
    found = {}
    for part, (pixels, change) in work.items():
        path = folder / f"{name}-{part}.npy"
        if not path.is_file():
            with console.status(f"embedding {part}: {len(pixels)} images"):
                _save(path, _embedded(network, pixels, change, part))
        found[part] = np.load(path)
    return Seen(found, seconds)


def _network(films: FilmSet, recipe: Recipe, stem: Path, console: Console) -> tuple[Network, float]:
    """Train from the checkpoint where there is one; the seconds of all runs are added up."""
    clock = stem.with_suffix(".seconds")
    before = float(clock.read_text()) if clock.is_file() else 0.0
    trainer = Trainer(films, SPEC, recipe)
    start = time.perf_counter()
    network = trainer.run(stem.with_suffix(".pt"), console)
    if trainer.epoch and time.perf_counter() - start > 5.0:
        before += time.perf_counter() - start
        clock.write_text(f"{before:.1f}")
    return network, before


def _embedded(network: Network, pixels: np.ndarray, change: Change, part: str) -> np.ndarray:
    stream = int.from_bytes(hashlib.sha256(part.encode()).digest()[:4], "big")

    def one(row: int) -> np.ndarray:
        return preprocess(change(pixels[row], np.random.default_rng((stream, row))), SPEC)

    parts = []
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(pixels), 512):  # in pieces: memory, not speed
            rows = range(start, min(start + 512, len(pixels)))
            parts.append(embed(network, np.stack(list(pool.map(one, rows)))))
    return np.concatenate(parts)


def _junk(film: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return junk of a random kind through site B's scanner."""
    return LOOKS["S4"](JUNK[rng.integers(len(JUNK))](film, rng), rng)


def _save(path: Path, rows: np.ndarray) -> None:
    unfinished = path.with_suffix(".part.npy")
    np.save(unfinished, rows)
    unfinished.replace(path)
