"""The factory: a model package and the demo's films, trained from nothing on labelled radiographs."""

import os
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
        torch is not installed, the data can't be read, or ``out`` is there already.
    """
    # Read by the OpenMP runtime when torch loads it. Spinning threads take the cores from those that
    # prepare the next films, and from everybody else on the machine: a third of the time goes there.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from orthanc_al.learn.factory.making import make  # noqa: PLC0415 - torch is an extra
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"training needs {error.name}: install it with pip install 'orthanc-al[finetune]'"
        ) from error
    if out.exists():
        raise ConfigurationError(f"{out} is there already: name another folder, or remove it first")
    make(data, out, seed=seed, work_dir=work_dir, console=console)
