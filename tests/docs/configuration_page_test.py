"""docs/configuration.md has every key once, with its default; its example of faults is what is printed."""

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, SecretStr

from orthanc_al.errors import ConfigurationError
from orthanc_al.settings import Model, Peer, Settings, load

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text()
ROW = re.compile(r"^\| `([\w.]+)` \| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)
# The tables whose keys belong to an entry of a list.
ENTRIES = {"dicom.peers": Peer, "models": Model}


def _keys(model: BaseModel, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            found |= _keys(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _literal(text: str) -> Any:
    return None if text == "none" else tomllib.loads(f"value = {text.strip('`')}")["value"]


def _table_after(heading: str) -> dict[str, str]:
    part = PAGE.split(f"### `[[{heading}]]`\n" if heading == "dicom.peers" else f"## `[[{heading}]]`\n")[1]
    rows = ROW.findall(part.split("\n#")[0])
    return {key: default for key, _, default, _ in rows if "." not in key and key != heading}


def _all_rows() -> list[tuple[str, str, str]]:
    entries = {name for model in ENTRIES.values() for name in model.model_fields}
    return [(key, kind, default) for key, kind, default, _ in ROW.findall(PAGE) if key not in entries]


def test_every_key_stands_there_once_with_its_default() -> None:
    defaults = {key: _plain(value) for key, value in _keys(Settings()).items()}
    rows = _all_rows()
    assert sorted(key for key, _, _ in rows) == sorted(defaults)
    for key, _, default in rows:
        assert _literal(default) == defaults[key], key


@pytest.mark.parametrize("heading", sorted(ENTRIES))
def test_every_key_of_an_entry_stands_there_with_its_default(heading: str) -> None:
    fields = ENTRIES[heading].model_fields
    expected = {name: None if f.is_required() else _plain(f.default) for name, f in fields.items()}
    assert {name: _literal(default) for name, default in _table_after(heading).items()} == expected


def test_every_choice_is_named() -> None:
    kinds = {key: kind for key, kind, _ in _all_rows()}
    for section, field in Settings.model_fields.items():
        for name, inner in getattr(field.annotation, "model_fields", {}).items():
            choices = [choice for choice in get_args(inner.annotation) if isinstance(choice, str)]
            if choices:
                assert re.findall(r"`(\w+)`", kinds[f"{section}.{name}"]) == choices


def test_the_example_prints_what_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORTHANC_AL_SECRETS", raising=False)
    monkeypatch.chdir(tmp_path)
    example = PAGE.split("```toml\n")[1].split("```")[0]
    Path("bad.toml").write_text(example)
    with pytest.raises(ConfigurationError) as caught:
        load(Path("bad.toml"))
    shown = PAGE.split("config check\nError: ")[1].split("```")[0]
    # The terminal wraps long lines; the words are the same.
    assert shown.split() == str(caught.value).split()
