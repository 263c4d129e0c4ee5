"""The spool is cleaned whatever becomes of the training cache."""

import errno
import os
from pathlib import Path

import pytest

from orthanc_al.learn import InputKeeper
from orthanc_al.ledger import Ledger
from orthanc_al.ledger.schema import deliveries, jobs, predictions
from orthanc_al.service import housekeeping
from orthanc_al.settings import Settings, load
from orthanc_al.spool import Spool
from tests.support.learning_ledger import put_prediction, put_read, put_study
from tests.support.wire import put_instance


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "al.toml"
    path.write_text(
        f'[storage]\nledger = "sqlite:///{tmp_path}/ledger.sqlite"\nspool = "spool"\nkeep_days = 0\n'
    )
    return load(path)


def _delivered(ledger: Ledger, spool: Spool, uid: str, *, read: bool) -> str:
    instance = put_instance(ledger, spool, f"{uid}.1")
    with ledger.write() as connection:
        put_study(connection, uid)
        put_prediction(connection, uid, 0.0)
        connection.execute(
            predictions.update()
            .where(predictions.c.study_instance_uid == uid)
            .values(instance_id=instance.id, model_name="cxr")
        )
        connection.execute(deliveries.update().values(state="sent"))
        connection.execute(jobs.delete())
        if read:
            put_read(connection, uid, present=True)
    return instance.id


def test_a_full_disk_of_the_cache_does_not_fill_the_spool(
    settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: InputKeeper) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(InputKeeper, "keep", full)
    spool = Spool(settings.storage.spool, 0)
    labelled = _delivered(ledger, spool, "1.1", read=True)
    plain = _delivered(ledger, spool, "1.2", read=False)
    stale = spool.path(plain).with_suffix(".1234abcd.part")
    stale.touch()
    os.utime(stale, (0, 0))
    assert housekeeping.clean_spool(settings, ledger) == 1
    assert labelled in spool  # its input is still to be kept
    assert plain not in spool
    assert not stale.exists()
    monkeypatch.setattr(InputKeeper, "keep", lambda _: 0)
    assert housekeeping.clean_spool(settings, ledger) == 1
    assert labelled not in spool
