"""What the watcher needs of an Orthanc (`orthanc_al.orthanc.ChangeLog` has it)."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol


class Change(Protocol):
    """A line of Orthanc's log."""

    @property
    def seq(self) -> int:
        """Its number."""

    @property
    def kind(self) -> str:
        """What happened."""

    @property
    def orthanc_id(self) -> str:
        """To which resource."""

    @property
    def anchor(self) -> str:
        """By what it is known again."""


class Page(Protocol):
    """Some lines of it."""

    @property
    def changes(self) -> Sequence[Change]:
        """In their order."""

    @property
    def last(self) -> int:
        """Up to which number this tells all."""

    @property
    def done(self) -> bool:
        """Whether there are no more."""


class Description(Protocol):
    """What Orthanc says of an instance."""

    @property
    def remote_ae(self) -> str:
        """Who sent it by C-STORE; empty where it came otherwise."""

    @property
    def received_at(self) -> float:
        """Seconds since 1970."""


class ChangeLog(Protocol):
    """What is needed of `orthanc_al.orthanc.ChangeLog`; each method may raise `OrthancError`."""

    def page(self, since: int, limit: int = ...) -> Page:
        """Return the changes behind a number."""

    def newest(self) -> Page:
        """Return the newest change."""

    def number_before(self, at: float) -> int:
        """Return the number behind which all changes since a time are."""

    def new_instances(self, since: int) -> Iterator[Change]:
        """Yield the changes behind a number that tell of an instance."""

    def instances(self) -> list[str]:
        """Return the ids of all instances."""

    def describe(self, orthanc_id: str) -> Description | None:
        """Return what it says of an instance, None where it is gone."""

    def sop_instance_uid(self, orthanc_id: str) -> str:
        """Return an instance's UID."""

    def file(self, orthanc_id: str) -> AbstractContextManager[Iterator[bytes] | None]:
        """Give an instance's file piece by piece, None where it is gone."""
