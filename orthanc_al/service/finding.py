"""What an examination finds."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

from rich.markup import escape


class Verdict(StrEnum):
    """How a finding is to be taken."""

    FINE = "ok"
    NOTE = "note"
    PROBLEM = "problem"


_STYLE: Final = {Verdict.FINE: "green", Verdict.NOTE: "yellow", Verdict.PROBLEM: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `orthanc-al doctor`: what was looked at, how it is, and what to do where it is not well."""

    subject: str
    verdict: Verdict
    text: str

    @property
    def is_problem(self) -> bool:
        """Whether somebody has to do something."""
        return self.verdict is Verdict.PROBLEM

    def line(self) -> str:
        """Return the line with rich's markup."""
        return f"[{_STYLE[self.verdict]}]{self.verdict:<8}[/] {escape(self.subject):<22} {escape(self.text)}"

    def as_dict(self) -> dict[str, str]:
        """Return it for JSON."""
        return {key: str(value) for key, value in asdict(self).items()}


def fine(subject: str, text: str) -> Finding:
    """All is well with ``subject``."""
    return Finding(subject, Verdict.FINE, text)


def note(subject: str, text: str) -> Finding:
    """Something about ``subject`` is worth knowing."""
    return Finding(subject, Verdict.NOTE, text)


def problem(subject: str, text: str) -> Finding:
    """Somebody has to see to ``subject``."""
    return Finding(subject, Verdict.PROBLEM, text)
