"""The clock puts the models' jobs on the queue (`retrain`) and spends the day's rest (`select`)."""

from datetime import timedelta
from pathlib import Path

import pytest
from apscheduler.triggers.cron import CronTrigger

from orthanc_al.errors import ConfigurationError
from orthanc_al.ledger import Ledger, selections, waiting
from orthanc_al.observe import now
from orthanc_al.service.roles import web
from orthanc_al.settings import Settings, load
from tests.support.learning_ledger import put_prediction, put_study
from tests.support.tiny_package import tiny_package


def _settings(
    tmp_path: Path, cron: str, monitor: str = "", timezone: str = "Europe/Zurich", rest: str = ""
) -> Settings:
    tiny_package(tmp_path / "package")
    path = tmp_path / "al.toml"
    path.write_text(
        f'[[models]]\npackage = "package"\n[learn]\ncron = "{cron}"\n'
        f'[monitor]\ncron = "{monitor}"\n[site]\ntimezone = "{timezone}"\n'
        f'[review]\nspend_rest_at = "{rest}"\n'
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
        assert waiting.counts(connection) == {("retrain", "ready"): 1}


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
        assert waiting.counts(connection) == {("monitor", "ready"): 1}


def test_empty_keys_turn_it_off(ledger: Ledger, tmp_path: Path) -> None:
    assert web._nightly_clock(_settings(tmp_path, ""), ledger) is None


@pytest.mark.parametrize("cron", ["0 25 * * *", "a b c d e"])
def test_a_cron_that_is_none_is_a_fault_of_the_configuration(tmp_path: Path, cron: str) -> None:
    with pytest.raises(ConfigurationError, match=r"learn\.cron"):
        _settings(tmp_path, cron)


def test_the_day_s_rest_is_spent_before_the_sites_midnight_and_never_after(
    ledger: Ledger, tmp_path: Path
) -> None:
    clock = web._nightly_clock(_settings(tmp_path, "", timezone="Pacific/Auckland", rest="22:30"), ledger)
    assert clock is not None
    try:
        (job,) = clock.get_jobs()
        assert (job.next_run_time.hour, job.next_run_time.minute) == (22, 30)
        assert str(job.next_run_time.tzinfo) == "Pacific/Auckland"
        late = job.next_run_time + timedelta(seconds=job.misfire_grace_time)
        assert late.date() == job.next_run_time.date()
        job.func(*job.args)  # nothing is there to be asked
    finally:
        clock.shutdown(wait=False)


def test_a_study_is_asked_about_by_the_clock(ledger: Ledger, tmp_path: Path) -> None:
    settings = _settings(tmp_path, "", rest="22:30")
    with ledger.write() as connection:
        put_study(connection, "1.2", arrived_at=now(), placed_at=now())
        put_prediction(connection, "1.2", 0.0, scored_at=now())
    clock = web._nightly_clock(settings, ledger)
    assert clock is not None
    try:
        spend = clock.get_jobs()[0]
        spend.func(*spend.args)
    finally:
        clock.shutdown(wait=False)
    with ledger.read() as connection:
        (query,) = selections.of_study(connection, "1.2").values()
    assert query.reason.endswith("asked at the day's end")


@pytest.mark.parametrize("rest", ["24:00", "9:00", "22:60", "noon"])
def test_a_time_that_is_none_is_a_fault_of_the_configuration(tmp_path: Path, rest: str) -> None:
    with pytest.raises(ConfigurationError, match="spend_rest_at"):
        _settings(tmp_path, "", rest=rest)
