"""Decode: a film from the file to the model's input, against stock pydicom and by threads.

The stock contestant reads with pydicom, decodes with the fastest of the plugins that are installed (the
extra ``bench`` brings gdcm and openjpeg), as they are shipped, and prepares by the same preprocessing. Two
threads are measured against one while each frame has one. What a film's milliseconds go to is printed by
``python -m tests.bench.decoding``.
"""

import copy
import functools
import os
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import pydicom
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from rich.console import Console
from rich.table import Table

from orthanc_al.domain.preprocessing import Decode, PreprocessingSpec
from orthanc_al.imaging import codecs
from orthanc_al.imaging.decode import Wanted, stored_frames
from orthanc_al.imaging.model_input import model_inputs
from orthanc_al.imaging.preprocess import preprocess
from orthanc_al.imaging.reading import map_image
from orthanc_al.inference import load_package
from orthanc_al.inference.session import Session
from tests.bench.series import Series, Step, rotated
from tests.support.site import PACKAGE
from tests.support.synthetic import film

OURS: Final = "orthanc_al"
_FILMS: Final = 4  # a turn
_QUICK: Final = 16  # a turn by threads, of films that are decoded in less than a tenth of a second

_ENCODERS: Final[Mapping[uid.UID, Callable[[Any], bytes]]] = {
    uid.JPEGLosslessSV1: imagecodecs.ljpeg_encode,
    uid.JPEGLSLossless: imagecodecs.jpegls_encode,
    uid.JPEG2000Lossless: lambda pixels: bytes(
        imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True)
    ),
    uid.HTJ2KLossless: imagecodecs.htj2k_encode,
}
_AGAINST_STOCK: Final[Sequence[tuple[uid.UID, Decode]]] = (
    (uid.JPEGLosslessSV1, "full"),
    (uid.JPEG2000Lossless, "half"),
    (uid.HTJ2KLossless, "half"),
)


def measure(folder: Path, rounds: int, step: Step) -> list[Series]:
    """Take decode + prepare against stock pydicom, then two threads against one."""
    paths = films_of_noise(folder / "films")
    stock = {
        (syntax, decode): Series(
            f"decode + prepare a film 3000 x 2500, {name_of(syntax)}, {decode}", "films/s"
        )
        for syntax, decode in _AGAINST_STOCK
    }
    threads = {
        syntax: Series(f"decode + prepare films, {name_of(syntax)}, two threads against one", "films/s")
        for syntax in _ENCODERS
    }
    with ProcessPoolExecutor(2, get_context("spawn")) as processes:
        for number in range(rounds):
            for (syntax, decode), series in stock.items():
                _against_stock(series, paths[syntax], _spec(decode), number)
            for syntax, series in threads.items():
                films = _FILMS if syntax == uid.JPEG2000Lossless else _QUICK
                _threads(series, paths[syntax], films, number, processes)
            step()
    return [*stock.values(), *threads.values()]


def name_of(syntax: uid.UID) -> str:
    """Return a transfer syntax by the name that the tables have."""
    return {
        uid.JPEGLosslessSV1: "JPEG Lossless",
        uid.JPEGLSLossless: "JPEG-LS",
        uid.JPEG2000Lossless: "JPEG 2000",
        uid.HTJ2KLossless: "HTJ2K",
        uid.RLELossless: "RLE",
        uid.ExplicitVRLittleEndian: "uncompressed",
    }[syntax]


def _spec(decode: Decode) -> PreprocessingSpec:
    return replace(load_package(PACKAGE).manifest.preprocessing, decode=decode)


def films_of_noise(folder: Path) -> dict[uid.UID, Path]:
    """Write one film of smooth noise, 12 bits in 16, in each syntax."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = film(np.random.default_rng(3))
    random = np.random.default_rng(4)
    coarse = np.kron(random.normal(2000, 500, (60, 50)), np.ones((50, 50)))
    pixels = np.clip(coarse + random.normal(0, 8, coarse.shape), 0, 4095).astype(np.uint16)
    plain.PixelData = pixels.tobytes()
    paths = {uid.ExplicitVRLittleEndian: _saved(plain, folder / "plain.dcm")}
    for syntax, encode in _ENCODERS.items():
        packed = copy.deepcopy(plain)
        packed.file_meta.TransferSyntaxUID = syntax
        packed.PixelData = encapsulate([encode(pixels)])
        packed["PixelData"].VR = "OB"
        paths[syntax] = _saved(packed, folder / f"{syntax}.dcm")
    rle = copy.deepcopy(plain)
    rle.compress(uid.RLELossless)
    paths[uid.RLELossless] = _saved(rle, folder / "rle.dcm")
    return paths


def _saved(dataset: Any, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def _ours(path: Path, spec: PreprocessingSpec) -> None:
    for _ in model_inputs(path, spec):
        pass


def _stock(path: Path, plugin: str, spec: PreprocessingSpec) -> None:
    with _one_thread_a_frame():
        dataset = pydicom.dcmread(path)
        decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
        pixels, _ = decoder.as_array(dataset, raw=True, decoding_plugin=plugin)
    preprocess(pixels, spec)


@contextmanager
def _one_thread_a_frame() -> Iterator[None]:
    """Have no library share a frame between threads, as we ask OpenJPEG to."""
    before = os.environ.get(codecs.THREADS)
    os.environ[codecs.THREADS] = "1"  # which is what OpenJPEG does by itself
    try:
        yield
    finally:
        del os.environ[codecs.THREADS]
        if before is not None:
            os.environ[codecs.THREADS] = before


def _best_plugin(path: Path, spec: PreprocessingSpec) -> str | None:
    """Return the fastest plugin of pydicom's own for a file; None where none takes it."""
    decoder = get_decoder(pydicom.dcmread(path).file_meta.TransferSyntaxUID)
    taken: dict[str, float] = {}
    for plugin in decoder.available_plugins:
        if plugin == codecs.PLUGIN:
            continue
        try:
            _stock(path, plugin, spec)
            taken[plugin] = _timed(functools.partial(_stock, path, plugin, spec))
        except Exception as error:
            warnings.warn(f"{plugin}: {type(error).__name__}", stacklevel=2)
    return min(taken, key=lambda plugin: taken[plugin]) if taken else None


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _against_stock(series: Series, path: Path, spec: PreprocessingSpec, number: int) -> None:
    codecs.register()
    works: dict[str, Callable[[], None]] = {OURS: functools.partial(_ours, path, spec)}
    plugin = _best_plugin(path, spec)
    if plugin is not None:
        works[f"pydicom with {plugin}"] = functools.partial(_stock, path, plugin, spec)
    for who, work in rotated(works, number):
        series.add(who, _FILMS / _timed(functools.partial(_repeat, work, _FILMS)))
    series.led_by(OURS)


def _repeat(work: Callable[[], None], times: int) -> None:
    for _ in range(times):
        work()


def _threads(series: Series, path: Path, films: int, number: int, processes: ProcessPoolExecutor) -> None:
    """Take films by one thread, by two, and by two processes: what no lock of the interpreter limits."""

    def by(count: int) -> None:
        crew = [threading.Thread(target=_films, args=(path, films // count)) for _ in range(count)]
        with _one_thread_a_frame():
            for thread in crew:
                thread.start()
            for thread in crew:
                thread.join()

    def by_processes(each: int) -> None:
        list(processes.map(_films_alone, [path] * 2, [each] * 2))

    list(processes.map(_awake, [path] * 2))
    works: dict[str, Callable[[], None]] = {
        f"{OURS}, two threads": functools.partial(by, 2),
        "one thread": functools.partial(by, 1),
        "two processes": functools.partial(by_processes, films // 2),
    }
    for who, work in rotated(works, number):
        series.add(who, films / _timed(work))
    series.led_by(f"{OURS}, two threads")


def _films(path: Path, count: int) -> None:
    _repeat(functools.partial(_ours, path, _spec("full")), count)


def _films_alone(path: Path, count: int) -> None:
    with _one_thread_a_frame():
        _films(path, count)


def _awake(path: Path) -> None:
    """Do a film, slowly enough that the other process gets the other."""
    _films_alone(path, 1)
    time.sleep(0.2)


# --- where the milliseconds go ---------------------------------------------------------------------


def main() -> None:
    """Print, by syntax, the milliseconds of each step: the best of five."""
    table = Table(title="A film of 3000 x 2500 x 16 bit, milliseconds")
    for column in ("syntax", "decode", "read", "decode", "prepare", "run", "all"):
        table.add_column(column, justify="right")
    package = load_package(PACKAGE)
    session = Session(package.contents.model)
    with tempfile.TemporaryDirectory() as folder:
        for syntax, path in films_of_noise(Path(folder)).items():
            for decode in ("full", "half", "quarter") if syntax in codecs.REDUCIBLE else ("full",):
                table.add_row(name_of(syntax), decode, *_milliseconds(path, _spec(decode), session))
    Console(width=120).print(table)


def _milliseconds(path: Path, spec: PreprocessingSpec, session: Session) -> list[str]:
    def read() -> None:
        map_image(path)

    def decode() -> None:
        for frame in stored_frames(map_image(path), wanted=Wanted(spec.decode, spec.size)):
            frame.pixels[::512].sum()

    (one,) = model_inputs(path, spec)
    reading, decoding = _best(read), _best(decode)
    preparing = _best(functools.partial(_ours, path, spec))
    running = _best(lambda: session.run(one.pixels[np.newaxis]))
    steps = (reading, max(decoding - reading, 0.0), max(preparing - decoding, 0.0), running)
    return [f"{1000 * seconds:.1f}" for seconds in (*steps, sum(steps))]


def _best(work: Callable[[], object]) -> float:
    return min(_timed(work) for _ in range(5))


if __name__ == "__main__":
    main()
