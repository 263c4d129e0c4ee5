"""The factory: a model package and the demo's films, trained from nothing on labelled radiographs."""

import os
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from orthanc_al.errors import ConfigurationError


def train_factory(data: Path, out: Path, *, seed: int, work_dir: Path, console: Console) -> None:
    """Train, calibrate, judge and write a model package, and sample the demo's films.

    Parameters
    ----------
    data
        Folder with ``manifest.csv`` and radiographs (:func:`orthanc_al.learn.factory.dataset.load_films`).
    out
        Folder of the package; must not exist yet.
    seed
        The same seed on the same machine gives the same split, films and, but for the order in which a
        processor adds, the same weights.
    work_dir
        Holds the checkpoint, which an interrupted training goes on from, and ``films.npz`` in the end.
    console
        For the progress bar and the figures.

    Raises
    ------
    ConfigurationError
        torch or onnxscript is not installed, the data can't be read, or ``out`` is there already.
    ModelError
        The generator does not give enough films that are in the model's domain and nobody's.
    """
    missing = [name for name in ("torch", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"training needs {' and '.join(missing)}: install with pip install 'orthanc-al[finetune]'"
        )
    if out.exists():
        raise ConfigurationError(f"{out} is there already: name another folder, or remove it first")
    # Read by the OpenMP runtime when torch loads it. Threads that wait in a loop take the cores from those
    # that prepare the next films, and from everybody else on the machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from orthanc_al.learn.factory.making import make  # noqa: PLC0415 - torch is an extra

    make(data, out, seed=seed, work_dir=work_dir, console=console)
