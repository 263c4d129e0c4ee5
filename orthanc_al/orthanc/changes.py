"""Orthanc's log of changes, and how an instance that it tells of is had.

A change is a row that Orthanc writes in the transaction that stores the instance: it is the truth, where
its events (``StableStudy``, the plugin's callbacks) are lost by a restart at the wrong moment. The rows of
a resource go when it is deleted, and all of them by ``DELETE /changes``: the numbers have gaps.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from orthanc_al.orthanc.client import OrthancClient

NEW_INSTANCE: Final = "NewInstance"
_PAGE: Final = 100
_LONG_PAGE: Final = 5000


@dataclass(frozen=True, slots=True)
class Change:
    """A line of the log.

    Attributes
    ----------
    seq
        Its number, which only grows.
    kind
        ``NewInstance``, ``StableStudy``, ``UpdatedMetadata`` ...
    orthanc_id
        Of the resource.
    date
        As Orthanc writes it: ``YYYYMMDDTHHMMSS``, UTC.
    """

    seq: int
    kind: str
    orthanc_id: str
    date: str

    @property
    def anchor(self) -> str:
        """By what the change is known again."""
        return f"{self.date} {self.kind} {self.orthanc_id}"

    @property
    def at(self) -> float:
        """When it happened, in seconds since 1970."""
        return moment(self.date)


@dataclass(frozen=True, slots=True)
class Page:
    """Some changes in their order; ``last`` is the number up to which this tells all."""

    changes: tuple[Change, ...]
    last: int
    done: bool


@dataclass(frozen=True, slots=True)
class Description:
    """What Orthanc says of an instance.

    Attributes
    ----------
    remote_ae
        Who sent it by C-STORE; empty where it came otherwise.
    received_at
        Seconds since 1970, UTC; 0 where Orthanc does not say.
    """

    remote_ae: str
    received_at: float


class ChangeLog:
    """The log of one Orthanc. All methods raise `OrthancError` where it can't be asked.

    Parameters
    ----------
    client
        Of its REST API.
    """

    def __init__(self, client: OrthancClient) -> None:
        self._client = client

    def page(self, since: int, limit: int = _PAGE) -> Page:
        """Return the changes behind number ``since``."""
        return _page(self._client.get("/changes", {"since": max(0, since), "limit": limit}))

    def newest(self) -> Page:
        """Return the newest change, none where the log is empty."""
        return _page(self._client.get("/changes", {"last": ""}))

    def number_before(self, at: float) -> int:
        """Return the number behind which all changes since ``at`` (seconds since 1970) are.

        By halving: the log of an archive has millions of lines.
        """
        low, high = 0, self.newest().last
        while low < high:
            middle = (low + high) // 2
            found = self.page(middle, 1).changes
            if found and found[0].at < at:
                low = found[0].seq
            else:
                high = middle
        return low

    def new_instances(self, since: int) -> Iterator[Change]:
        """Yield the changes behind ``since`` that tell of an instance."""
        done = False
        while not done:
            page = self.page(since, _LONG_PAGE)
            yield from (change for change in page.changes if change.kind == NEW_INSTANCE)
            since, done = page.last, page.done or not page.changes

    def instances(self) -> list[str]:
        """Return the ids of all instances: one answer, so that it is true of one moment."""
        return [str(one) for one in self._client.get("/instances")]

    def describe(self, orthanc_id: str) -> Description | None:
        """Return what Orthanc says of an instance, None where it has none of this id any more."""
        said = self._client.get(f"/instances/{orthanc_id}/metadata", {"expand": ""}, missing=True)
        if said is None:
            return None
        by_dicom = said.get("Origin") == "DicomProtocol"
        received = str(said.get("ReceptionDate", ""))
        return Description(
            remote_ae=str(said.get("RemoteAET", "")).strip() if by_dicom else "",
            received_at=moment(received) if received else 0.0,
        )

    def sop_instance_uid(self, orthanc_id: str) -> str:
        """Return an instance's UID, empty where it is gone."""
        said = self._client.get(f"/instances/{orthanc_id}", missing=True) or {}
        return str(said.get("MainDicomTags", {}).get("SOPInstanceUID", ""))

    @contextmanager
    def file(self, orthanc_id: str) -> Iterator[Iterator[bytes] | None]:
        """Give the Part 10 file of an instance piece by piece, None where it is gone."""
        with self._client.stream(f"/instances/{orthanc_id}/file") as pieces:
            yield pieces


def moment(date: str) -> float:
    """Return seconds since 1970 of a time as Orthanc writes it; 0 for what is none.

    Examples
    --------
    >>> moment("20240101T000000")
    1704067200.0
    """
    try:
        return datetime.strptime(date[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _page(answer: dict[str, Any]) -> Page:
    changes = tuple(
        Change(int(one["Seq"]), str(one["ChangeType"]), str(one["ID"]), str(one["Date"]))
        for one in answer["Changes"]
    )
    return Page(changes, int(answer["Last"]), bool(answer["Done"]))
