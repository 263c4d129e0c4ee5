"""The configuration is checked as a whole, before anything starts."""

from pathlib import Path

import pytest

from orthanc_al.errors import ConfigurationError
from orthanc_al.settings import load


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORTHANC_AL_SECRETS", raising=False)


def write(folder: Path, text: str) -> Path:
    path = folder / "al.toml"
    path.write_text(text)
    return path


def test_no_file_is_the_defaults() -> None:
    settings = load()
    assert settings.dicom.port == 11112
    assert settings.dicom.accept == "listed"


def test_all_faults_are_told_at_once_with_their_keys(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[dicom]\nport = 99999\nprot = 3\n[[dicom.peers]]\nname = "a b"\nae_title = "X"\nhost = "h"\n'
        'port = 1\nroles = ["x"]\n[web]\nhost = "0.0.0.0"\n[site]\ntimezone = "Mars/Base"\n'
        '[learn]\ncron = "often"\n[triage.target_minutes]\nhigh = 999\n',
    )
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    text = str(caught.value)
    for key in (
        "dicom.port",
        "dicom.prot: no such key",
        "dicom.peers.0.name",
        "dicom.peers.0.roles.0",
        "web",
        "site.timezone",
        "learn.cron",
        "triage.target_minutes",
    ):
        assert key in text
    assert caught.value.exit_status == 2


def test_a_secret_is_never_part_of_a_fault(tmp_path: Path) -> None:
    path = write(tmp_path, '[web]\npassword = "hunter2"\nport = 0\n')
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert "hunter2" not in str(caught.value)


def test_environment_wins_over_the_file_and_secrets_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, '[dicom]\nport = 1111\nae_title = "FILE"\n[web]\npassword = "file"\n')
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "web__password").write_text("secret\n")
    monkeypatch.setenv("ORTHANC_AL_DICOM__PORT", "2222")
    monkeypatch.setenv("ORTHANC_AL_WEB__PASSWORD", "environment")
    settings = load(path, secrets=secrets)
    assert (settings.dicom.port, settings.dicom.ae_title) == (2222, "FILE")
    assert settings.web.password.get_secret_value() == "secret"


def test_the_secrets_folder_can_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "orthanc__password").write_text("s")
    monkeypatch.setenv("ORTHANC_AL_SECRETS", str(tmp_path))
    assert load().orthanc.password.get_secret_value() == "s"


def test_a_secrets_folder_that_is_not_there_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORTHANC_AL_SECRETS", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="secrets folder"):
        load()


def test_a_misspelt_variable_of_a_section_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORTHANC_AL_DICOM__PROT", "1")
    with pytest.raises(ConfigurationError, match=r"dicom\.prot: no such key"):
        load()


def test_relative_paths_belong_to_the_files_folder(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[storage]\nspool = "s"\nledger = "sqlite:///l.sqlite"\n[[models]]\npackage = "m"\n'
        '[learn]\npccp = "p.toml"\n',
    )
    settings = load(path)
    assert settings.storage.spool == tmp_path / "s"
    assert settings.storage.ledger == f"sqlite:///{tmp_path}/l.sqlite"
    assert settings.models[0].package == tmp_path / "m"
    assert settings.learn.pccp == tmp_path / "p.toml"


def test_absolute_paths_and_other_databases_stay(tmp_path: Path) -> None:
    path = write(tmp_path, '[storage]\nspool = "/s"\nledger = "postgresql+psycopg://h/d"\n')
    settings = load(path)
    assert settings.storage.spool == Path("/s")
    assert settings.storage.ledger == "postgresql+psycopg://h/d"


def test_two_peers_of_one_name_are_a_fault(tmp_path: Path) -> None:
    peer = '[[dicom.peers]]\nname = "a"\nae_title = "A"\nhost = "h"\nport = 1\nroles = ["source"]\n'
    with pytest.raises(ConfigurationError, match="two peers have the name a"):
        load(write(tmp_path, peer * 2))


def test_a_file_that_is_not_there_or_not_toml_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no configuration file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        load(write(tmp_path, "[dicom"))


def test_a_quiet_time_is_added_to_the_defaults(tmp_path: Path) -> None:
    settings = load(write(tmp_path, "[assemble]\nquiet_seconds = { CT = 60 }\n"))
    assert settings.assemble.quiet_seconds == {"default": 30, "CR": 5, "DX": 5, "CT": 60}


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().dicom.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[learn]\ncron = "99 99 * * *"', "learn.cron"),
        ('[dicom]\nae_title = "   "', "dicom.ae_title"),
        ("[web]\nport = 11112", "dicom.port and web.port"),
        ('[orthanc]\nurl = "127.0.0.1:8042"', "orthanc.url"),
        ('[orthanc]\nurl = "http://orthanc:secret@127.0.0.1:8042"', "orthanc.username and orthanc.password"),
        ('[storage]\nledger = "mysql://host/name"', "storage.ledger"),
        (
            '[[dicom.peers]]\nname = "x"\nae_title = "X"\nhost = "::1"\nport = 11112\nroles = ["results"]',
            "in a circle",
        ),
    ],
)
def test_what_would_fail_only_when_it_runs_is_a_fault_now(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        load(write(tmp_path, text))


def test_a_file_that_is_not_utf8_is_told_without_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "al.toml"
    path.write_bytes(b'[site]\nname = "\xe9"\n')
    with pytest.raises(ConfigurationError, match="is not TOML"):
        load(path)


def test_a_variable_that_is_no_json_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORTHANC_AL_DICOM__PEERS", "x")
    with pytest.raises(ConfigurationError, match="environment variable"):
        load()
