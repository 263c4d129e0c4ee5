"""config/orthanc-al.toml has every key with its default, and no other."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from orthanc_al.settings import Model, Peer, Settings, load

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "config" / "orthanc-al.toml"
# Lists whose default is empty and for which the sample shows one entry.
SHOWN = {"dicom.peers": Peer, "models": Model}
# Keys that have no default to show.
LEFT_OUT = {"learn.factory_data", "learn.pccp"}


def _keys(model: type[BaseModel] | BaseModel, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in type(model).model_fields.items() if isinstance(model, BaseModel) else ():
        value = getattr(model, name)
        key = f"{prefix}{name}"
        del field
        if isinstance(value, BaseModel):
            found |= _keys(value, f"{key}.")
        else:
            found[key] = value
    return found


def _flat(table: dict[str, Any], known: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and key not in known:
            found |= _flat(value, known, f"{key}.")
        else:
            found[key] = value
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def test_the_sample_has_every_key_with_its_default() -> None:
    defaults = _keys(Settings())
    sample = _flat(tomllib.loads(SAMPLE.read_text()), defaults)
    assert set(sample) == set(defaults) - LEFT_OUT
    for key, value in defaults.items():
        if key not in SHOWN and key not in LEFT_OUT:
            assert sample[key] == _plain(value), key


def test_the_samples_entries_name_every_field_of_an_entry() -> None:
    table = tomllib.loads(SAMPLE.read_text())
    assert set(table["dicom"]["peers"][0]) == set(Peer.model_fields)
    assert set(table["models"][0]) == set(Model.model_fields)


def test_the_sample_loads() -> None:
    assert load(SAMPLE).dicom.peers[0].name == "pacs"


def test_every_line_with_a_key_says_what_it_is_for_or_stands_below_one_that_does() -> None:
    lines = [line for line in SAMPLE.read_text().splitlines() if "=" in line and not line.startswith("#")]
    commented = [line for line in lines if "#" in line]
    assert len(commented) >= 0.6 * len(lines)
