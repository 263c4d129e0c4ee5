"""What all tests share: where the public data are, and what to do where a part is missing."""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from orthanc_al.ledger import Ledger
from tests.support.postgresql import can_run, empty, running

ROOT = Path(__file__).parent.parent


def _missing(what: str) -> None:
    """Skip for a missing part; on CI a missing part is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI=true asks for it")
    pytest.skip(f"{what} is missing")


def shared_data() -> Path:
    """Return the folder of the public data sets, or skip (docs/testing.md)."""
    folder = Path(os.environ.get("ORTHANC_AL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        _missing(f"the folder of public data ({folder}; ORTHANC_AL_DATA names another)")
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the public data sets."""
    return shared_data()


_PROGRAMS = {
    "needs_orthanc": ("Orthanc", "unshare", "nsenter"),
    "needs_dcmtk": ("storescu", "storescp", "dcmdump", "dsrdump"),
    "needs_dicom3tools": ("dciodvfy",),
    "needs_browser": ("chromium",),
}


@pytest.fixture(autouse=True)
def _parts(request: pytest.FixtureRequest) -> None:
    for marker, programs in _PROGRAMS.items():
        if request.node.get_closest_marker(marker):
            for program in programs:
                if shutil.which(program) is None:
                    _missing(f"the program {program}")
    if request.node.get_closest_marker("needs_torch") and find_spec("torch") is None:
        _missing("torch (make finetune)")


@pytest.fixture(scope="session")
def _fresh_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger as the migrations make it, once: copying it takes a hundredth of their time."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    Ledger.create(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a ledger on a real PostgreSQL server of the tests' own, on loopback."""
    if not can_run():
        _missing("PostgreSQL, or its driver (the extra [postgresql])")
    with running() as url:
        Ledger.create(url).close()
        yield url


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module that is marked ``both_databases`` on SQLite and on PostgreSQL."""
    if "ledger" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_databases"):
        metafunc.parametrize("ledger", ("sqlite", "postgresql"), indirect=True)


@pytest.fixture
def ledger(request: pytest.FixtureRequest, tmp_path: Path, _fresh_ledger: Path) -> Iterator[Ledger]:
    """A fresh ledger: on SQLite, but where a module asks for both databases."""
    if getattr(request, "param", "sqlite") == "postgresql":
        made = Ledger.open(request.getfixturevalue("postgresql"))
        empty(made)
        yield made
        made.close()
        return
    shutil.copyfile(_fresh_ledger, tmp_path / "ledger.sqlite")
    made = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield made
    made.close()


@pytest.fixture
def grey() -> NDArray[np.uint8]:
    """A film of nothing, 8 bit: a bright blob on a ramp."""
    rows, columns = np.mgrid[0:96, 0:80]
    blob = 150 * np.exp(-((rows - 30) ** 2 + (columns - 50) ** 2) / 150)
    return (blob + rows / 96 * 100).astype(np.uint8)
