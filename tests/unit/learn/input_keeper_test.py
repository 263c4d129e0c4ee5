"""The training cache: inputs of labelled and drawn cases, as the network saw them, without a header."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from orthanc_al.imaging.model_input import model_inputs
from orthanc_al.learn import InputKeeper
from orthanc_al.ledger import Ledger, models, training_cache
from orthanc_al.ledger.schema import predictions
from orthanc_al.spool import Spool
from tests.support.learning_ledger import put_prediction, put_read, put_study
from tests.support.radiographs import wrap
from tests.support.tiny_package import tiny_package
from tests.support.wire import part10_body, put_instance


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", 0)


@pytest.fixture
def keeper(ledger: Ledger, spool: Spool, tmp_path: Path) -> InputKeeper:
    package = tiny_package(tmp_path / "package", name="cxr")
    with ledger.write() as connection:
        models.install(connection, package.ref, package.folder)
    return InputKeeper(ledger, spool, tmp_path / "training", clock=lambda: 5.0)


def film(folder: Path, number: int) -> bytes:
    """The data set of a DX film of noise, without preamble and file meta."""
    pixels = np.random.default_rng(number).integers(0, 255, (64, 48), np.uint8)
    path = folder / f"{number}.dcm"
    wrap(pixels, number).save_as(path, enforce_file_format=True)
    return part10_body(path)


def arrive(ledger: Ledger, spool: Spool, uid: str, data: bytes, *, read: bool = True) -> str:
    instance = put_instance(ledger, spool, f"{uid}.1", data=data)
    with ledger.write() as connection:
        put_study(connection, uid)
        put_prediction(connection, uid, 0.0)
        connection.execute(
            predictions.update()
            .where(predictions.c.study_instance_uid == uid)
            .values(instance_id=instance.id, model_name="cxr")
        )
        if read:
            put_read(connection, uid, present=True)
    return instance.id


def test_the_input_is_what_the_network_saw_and_is_kept_once(
    ledger: Ledger, spool: Spool, keeper: InputKeeper, tmp_path: Path
) -> None:
    instance = arrive(ledger, spool, "1.1", film(tmp_path, 1))
    arrive(ledger, spool, "1.2", film(tmp_path, 2), read=False)
    assert keeper.keep() == 1
    assert keeper.keep() == 0
    (file,) = (tmp_path / "training").iterdir()
    package = tiny_package(tmp_path / "package", name="cxr")
    (seen,) = model_inputs(spool.path(instance), package.manifest.preprocessing)
    assert np.load(file) == pytest.approx(seen.pixels, abs=2e-3)  # float16 of values of order 1
    assert b"1.1" not in file.read_bytes()
    with ledger.write() as connection:
        assert training_cache.forget(connection, "patient-of-1.1").files == (file.name,)


def test_a_file_that_can_t_be_read_stops_nothing(
    ledger: Ledger, spool: Spool, keeper: InputKeeper, tmp_path: Path
) -> None:
    arrive(ledger, spool, "1.1", b"\x08\x00\x16\x00UI\x02\x001\x00")
    gone = arrive(ledger, spool, "1.2", film(tmp_path, 2))
    spool.remove(gone)
    arrive(ledger, spool, "1.3", film(tmp_path, 3))
    assert keeper.keep() == 1


def test_a_full_disk_leaves_no_half_a_file(
    ledger: Ledger, spool: Spool, keeper: InputKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    arrive(ledger, spool, "1.1", film(tmp_path, 1))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            keeper.keep()
    assert list((tmp_path / "training").iterdir()) == []
    assert keeper.keep() == 1  # there is room again


def test_without_a_live_package_nothing_can_be_kept(ledger: Ledger, spool: Spool, tmp_path: Path) -> None:
    arrive(ledger, spool, "1.1", film(tmp_path, 1))
    assert InputKeeper(ledger, spool, tmp_path / "training").keep() == 0
