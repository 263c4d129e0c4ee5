"""The doctor tells no false loss, and no false peace."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orthanc_al.domain import Origin
from orthanc_al.ledger import Ledger, instances, processes, promises
from orthanc_al.ledger.schema import jobs
from orthanc_al.service import doctor, ground
from orthanc_al.service.finding import Finding
from orthanc_al.settings import Settings, load
from orthanc_al.spool import Spool

CT = "1.2.840.10008.5.1.4.1.1.2"
ORIGIN = Origin("MODALITY", "ORTHANC_AL", "ORTHANC_AL", "ct1", "a" * 32, "dicom")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "al.toml"
    path.write_text(
        f'[storage]\nledger = "sqlite:///{tmp_path}/ledger.sqlite"\nspool = "spool"\nmin_free_gb = 0\n'
    )
    return load(path)


@pytest.fixture
def spool(settings: Settings) -> Spool:
    return Spool(settings.storage.spool, 0)


def _received(spool: Spool, ledger: Ledger, destinations: tuple[str, ...] = ()) -> str:
    with spool.open_writer(CT, "1.2.3", "1.2.840.10008.1.2", ORIGIN) as writer:
        writer.write(b"x" * 5000)
        instance = writer.commit()
    with ledger.write() as connection:
        instances.add(connection, instance, ORIGIN, destinations)
    return instance.id


def _problems(settings: Settings) -> Iterator[Finding]:
    return (one for one in doctor.examine(settings) if one.is_problem)


def test_all_is_well_with_a_file_and_its_row(settings: Settings, spool: Spool, ledger: Ledger) -> None:
    _received(spool, ledger)
    assert list(_problems(settings)) == []


def test_what_the_spool_and_the_ledger_lie_on_is_a_note(
    settings: Settings, spool: Spool, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    _received(spool, ledger)
    monkeypatch.setattr(ground, "ground_of", lambda _: ground.Ground("tmpfs", frozenset()))
    told = {one.subject: one.verdict for one in doctor.examine(settings) if "in memory" in one.text}
    assert told == {"durability, spool": "note", "durability, ledger": "note"}
    monkeypatch.setattr(ground, "ground_of", lambda _: None)
    assert not any("durability" in one.subject for one in doctor.examine(settings))


def test_a_file_that_is_gone_cut_short_or_damaged_is_told(
    settings: Settings, spool: Spool, ledger: Ledger
) -> None:
    gone, short = _received(spool, ledger), _received(spool, ledger)
    spool.remove(gone)
    os.truncate(spool.path(short), 700)
    damaged = "f" * 32
    spool.path(damaged).write_bytes(b"nothing of ours")
    found = {one.subject: one.text for one in _problems(settings)}
    assert found.keys() == {"files missing", "files cut short", "files damaged"}
    for subject, one in (("missing", gone), ("cut short", short), ("damaged", damaged)):
        assert one in found[f"files {subject}"]


def test_what_a_power_cut_left_where_it_was_prepared_is_told_and_is_not_missing(
    settings: Settings, spool: Spool, ledger: Ledger
) -> None:
    spool.prepare(4)
    left, damaged = _received(spool, ledger), _received(spool, ledger)
    spool.stop_preparing()
    for name in (left, damaged):
        spool.path(name).rename(spool.folder / "ready" / f"{name}.ready")
    os.truncate(spool.folder / "ready" / f"{damaged}.ready", 5000)
    [found] = _problems(settings)
    assert (found.subject, left in found.text) == ("files not in their place", True)
    spool.take_up_prepared()
    found = {one.subject: one.text for one in _problems(settings)}
    assert found.keys() == {"prepared files damaged", "files missing"}
    assert all(damaged in text for text in found.values())


def test_cleaning_at_the_same_time_is_no_loss(
    settings: Settings, spool: Spool, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned = _received(spool, ledger)
    look = promises.spooled_sizes

    def then_clean(connection: object) -> dict[str, int]:
        sizes = look(connection)  # type: ignore[arg-type]
        spool.remove(cleaned)
        with ledger.write() as other:
            instances.set_cleaned(other, [cleaned])
        return sizes

    monkeypatch.setattr(promises, "spooled_sizes", then_clean)
    assert list(_problems(settings)) == []


def test_deliveries_to_a_peer_that_is_not_configured_any_more_are_told(
    settings: Settings, spool: Spool, ledger: Ledger
) -> None:
    _received(spool, ledger, ("old-pacs",))
    (found,) = _problems(settings)
    assert found.subject == "to old-pacs"


def test_a_process_that_failed_or_never_came_is_told_and_one_that_is_not_wanted_is_not(
    settings: Settings, ledger: Ledger
) -> None:
    states = {
        "web": "ready",
        "forwarder": "ready",
        "listener": "failed: nothing can listen",
        "worker": "ready",
    }
    with ledger.write() as connection:
        for role, state in states.items():
            processes.report_alive(connection, role, 1, 0.0, {"state": state})
        processes.report_alive(connection, "archive", 1, 0.0, {"state": "failed: long ago"})
    found = {one.subject: one.text for one in _problems(settings)}
    assert found.keys() == {"process listener", "process learner"}
    assert "nothing can listen" in found["process listener"]


def test_what_was_left_behind_is_told_and_can_be_taken_up(
    settings: Settings, spool: Spool, ledger: Ledger
) -> None:
    left = _received(spool, ledger)
    with ledger.write() as connection:
        connection.execute(jobs.delete())
    (found,) = _problems(settings)
    assert left in found.text
    with ledger.write() as connection:
        assert promises.take_up(connection, left) == 1
    assert list(_problems(settings)) == []


def test_a_service_that_has_just_ended_is_not_taken_for_a_running_one(
    settings: Settings, ledger: Ledger
) -> None:
    with ledger.write() as connection:
        for role in ("web", "forwarder", "worker", "learner", "listener"):
            processes.report_alive(connection, role, 1, 0.0, {"state": "ended"})
    (found,) = [one for one in doctor.examine(settings) if one.subject == "processes"]
    assert "none is running" in found.text
