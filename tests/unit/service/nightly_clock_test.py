"""The clock of `learn.cron` and `monitor.cron` puts the models' jobs on the queue, as the commands do."""

from pathlib import Path

import pytest
from apscheduler.triggers.cron import CronTrigger

from orthanc_al.errors import ConfigurationError
from orthanc_al.ledger import Ledger, queue
from orthanc_al.service.roles import web
from orthanc_al.settings import Settings, load
from tests.support.tiny_package import tiny_package


def _settings(tmp_path: Path, cron: str, monitor: str = "", timezone: str = "Europe/Zurich") -> Settings:
    tiny_package(tmp_path / "package")
    path = tmp_path / "al.toml"
    path.write_text(
        f'[[models]]\npackage = "package"\n[learn]\ncron = "{cron}"\n'
        f'[monitor]\ncron = "{monitor}"\n[site]\ntimezone = "{timezone}"\n'
    )
    return load(path)


def test_it_rings_at_the_sites_time_and_asks_for_retraining_once(ledger: Ledger, tmp_path: Path) -> None:
    clock = web._nightly_clock(_settings(tmp_path, "0 2 * * *"), ledger)
    assert clock is not None
    try:
        (job,) = clock.get_jobs()
        assert isinstance(job.trigger, CronTrigger)
        assert (job.next_run_time.hour, job.next_run_time.minute) == (2, 0)
        assert str(job.next_run_time.tzinfo) == "Europe/Zurich"
        job.func(*job.args)
        job.func(*job.args)
    finally:
        clock.shutdown(wait=False)
    with ledger.read() as connection:
        assert queue.counts(connection) == {("retrain", "ready"): 1}


def test_it_asks_for_a_look_at_the_day_that_is_over(ledger: Ledger, tmp_path: Path) -> None:
    clock = web._nightly_clock(_settings(tmp_path, "", monitor="15 0 * * *"), ledger)
    assert clock is not None
    try:
        (job,) = clock.get_jobs()
        assert (job.next_run_time.hour, job.next_run_time.minute) == (0, 15)
        job.func(*job.args)
    finally:
        clock.shutdown(wait=False)
    with ledger.read() as connection:
        assert queue.counts(connection) == {("monitor", "ready"): 1}


def test_an_empty_cron_turns_it_off(ledger: Ledger, tmp_path: Path) -> None:
    assert web._nightly_clock(_settings(tmp_path, ""), ledger) is None


@pytest.mark.parametrize("cron", ["0 25 * * *", "a b c d e"])
def test_a_cron_that_is_none_is_a_fault_of_the_configuration(tmp_path: Path, cron: str) -> None:
    with pytest.raises(ConfigurationError, match=r"learn\.cron"):
        _settings(tmp_path, cron)
