"""What is printed for people says all of it: brackets in texts of ours and of others are no markup."""

import io

import pytest
from rich.console import Console

from orthanc_al.cli import app as application
from orthanc_al.errors import ConfigurationError
from orthanc_al.service.finding import note


def _printed(markup: str) -> str:
    stream = io.StringIO()
    Console(file=stream, width=200).print(markup, highlight=False)
    return stream.getvalue()


def test_a_finding_keeps_the_lines_to_add_to_the_configuration() -> None:
    assert "[[dicom.peers]]" in _printed(note("association", "to allow it, add [[dicom.peers]]").line())


def test_an_error_keeps_its_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise ConfigurationError("set ae_title in [dicom]")

    stream = io.StringIO()
    monkeypatch.setattr(application, "app", fails)
    monkeypatch.setattr(application, "err", Console(file=stream, width=200))
    with pytest.raises(SystemExit) as end:
        application.main()
    assert end.value.code == 2
    assert "[dicom]" in stream.getvalue()
