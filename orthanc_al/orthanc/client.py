"""What we say to Orthanc and ask of it, by pyorthanc; works from 1.10.1 on by asking what there is.

Labels exist since 1.12.0, and on older ones ``/tools/find`` ignores them without a word and returns every
study: nothing about labels is done unless ``GET /system`` says ``HasLabels``.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
from pyorthanc import Orthanc

from orthanc_al.errors import OrthancError

READ_BY: Final = "al-read-by"
"""Metadata of a study: minutes since 1970, so that it sorts as an integer."""

READ_BY_INDEX: Final = 4200
"""Its number in ``UserMetadata``; writing by number works where the name is not configured, too."""

OLDEST: Final = (1, 10, 1)
"""The oldest version that this program was tried with."""

_TIMEOUT_SECONDS: Final = 10.0
_CHUNK: Final = 1 << 20
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an Orthanc can do.

    Attributes
    ----------
    ae_title
        Its own.
    has_ordering
        Whether ``/tools/find`` sorts by metadata (1.12.5 and newer).
    """

    version: str
    has_labels: bool
    ae_title: str = ""
    has_ordering: bool = False

    def __str__(self) -> str:
        labels = "with labels" if self.has_labels else "without labels (they exist since 1.12.0)"
        return f"Orthanc {self.version}, {labels}"

    @property
    def is_older_than_tried(self) -> bool:
        """Whether nobody tried this program with so old a version; one without numbers is a newer one."""
        numbers = _numbers(self.version)
        return bool(numbers) and numbers < OLDEST


class OrthancClient:
    """One Orthanc. All methods raise `OrthancError` where it is away, refuses us, or answers with an error.

    Parameters
    ----------
    url
        Of its REST API.
    username, password
        Empty where it asks for none.
    """

    def __init__(self, url: str, username: str = "", password: str = "") -> None:
        self._url = url.rstrip("/")
        self._uids: dict[str, str] = {}  # Study Instance UIDs of labelled studies, by Orthanc's own ids
        self._api: Any = Orthanc(
            self._url,
            username or None,
            password or None,
            return_raw_response=True,
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,  # an HTTP proxy of the environment is not for what stands beside us
        )

    def close(self) -> None:
        """Close the connection."""
        self._api.close()

    def capabilities(self) -> Capabilities:
        """Ask what this Orthanc can do."""
        system = self._told(self._api.get_system)
        return Capabilities(
            version=str(system.get("Version", "")),
            has_labels=bool(system.get("HasLabels", False)),
            ae_title=str(system.get("DicomAet", "")).strip(),
            has_ordering=bool(system.get("Capabilities", {}).get("HasExtendedFind", False)),
        )

    def get(self, path: str, parameters: Mapping[str, Any] | None = None, *, missing: bool = False) -> Any:
        """Return the JSON answer to a GET; None for a 404 where something may be ``missing``."""
        return self._told(self._api.get, f"{self._url}{path}", params=parameters, missing=missing)

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[bytes] | None]:
        """Give the answer to a GET piece by piece, None where there is no such thing."""
        try:
            with self._api.stream("GET", f"{self._url}{path}") as answer:
                if answer.status_code != _NOT_FOUND:
                    self._check(answer)
                yield None if answer.status_code == _NOT_FOUND else answer.iter_bytes(_CHUNK)
        except httpx.HTTPError as error:
            raise OrthancError(f"Orthanc at {self._url} does not answer ({error}).") from error

    def problems(self) -> list[str]:
        """Return what is not well, each with what to do; for ``doctor``."""
        return [*self._version_problems(), *self._viewer_problems(), *self._metadata_problems()]

    def _version_problems(self) -> Iterator[str]:
        can = self.capabilities()
        if can.is_older_than_tried:
            oldest = ".".join(map(str, OLDEST))
            yield f"Orthanc {can.version} is older than {oldest}, the oldest that was tried: update it"

    def _viewer_problems(self) -> Iterator[str]:
        if "dicom-web" not in self.get("/plugins"):
            yield (
                "Orthanc has no DICOMweb: OHIF can't open studies from it (Debian has it as "
                "orthanc-dicomweb; Plugins in its configuration)"
            )

    def _metadata_problems(self) -> list[str]:
        named = self._told(self._api.get_system).get("UserMetadata")
        if named is None:  # before 1.12: a study that has the value tells by which key
            keys: set[str] = set()
            for study in self._told(self._api.get_studies, params={"since": 0, "limit": 1}):
                keys |= set(self._told(self._api.get_studies_id_metadata, study))
            known = str(READ_BY_INDEX) not in keys
        else:
            known = READ_BY in named
        if known:
            return []
        configuration = f'"UserMetadata": {{"{READ_BY}": {READ_BY_INDEX}}}'
        return [
            f"Orthanc can't sort by when to read: put {configuration} into its file (see config/orthanc.json)"
        ]

    def find_study(self, study_instance_uid: str) -> str | None:
        """Return Orthanc's own id of a study, None where it does not have it."""
        for found in self._told(self._api.post, f"{self._url}/tools/lookup", content=study_instance_uid):
            if found["Type"] == "Study":
                return str(found["ID"])
        return None

    def put_read_by(self, orthanc_id: str, minutes: int) -> bool:
        """Write when a study is to be read, once: return whether it was not written like this already.

        Parameters
        ----------
        minutes
            Since 1970, UTC.
        """
        value = str(minutes)
        now = self._ask(self._api.get_studies_id_metadata_name, orthanc_id, READ_BY_INDEX, missing=True)
        if now is not None and now.text.strip() == value:
            return False
        # pyorthanc has `data` for the body, which httpx would send as a form.
        self._ask(self._api.put, f"{self._url}/studies/{orthanc_id}/metadata/{READ_BY_INDEX}", content=value)
        return True

    def labels(self, orthanc_id: str) -> set[str]:
        """Return the labels of a study; only where there are labels."""
        return set(self._told(self._api.get_studies_id_labels, orthanc_id))

    def put_labels(self, orthanc_id: str, wanted: Collection[str], ours: Collection[str]) -> None:
        """Make ``wanted`` the only ones of the labels ``ours`` that a study has; others are left alone."""
        now = self.labels(orthanc_id)
        for label in sorted((set(ours) - set(wanted)) & now):
            self._ask(self._api.delete_studies_id_labels_label, orthanc_id, label)
        for label in sorted(set(wanted) - now):
            self._ask(self._api.put_studies_id_labels_label, orthanc_id, label)

    def labelled(self, label: str) -> Iterator[str]:
        """Yield the Study Instance UID of each study with a label; none where there are no labels."""
        if not self.capabilities().has_labels:
            return
        # By Orthanc's own ids first: labels are polled, and their studies' tags don't change.
        query = {"Level": "Study", "Query": {}, "Labels": [label]}
        there = self._told(self._api.post_tools_find, query)
        if not self._uids.keys() >= set(there):
            for study in self._told(self._api.post_tools_find, {**query, "Expand": True}):
                self._uids[study["ID"]] = str(study["MainDicomTags"]["StudyInstanceUID"])
        yield from (self._uids[study] for study in there if study in self._uids)

    def _told(self, call: Callable[..., Any], *args: Any, missing: bool = False, **kwargs: Any) -> Any:
        """Return the JSON answer; None for a 404 where something may be ``missing``."""
        answer = self._ask(call, *args, missing=missing, **kwargs)
        try:
            return None if answer is None else answer.json()
        except ValueError as error:
            raise OrthancError(
                f"What answers at {self._url} to {answer.request.method} {answer.request.url.path} is no "
                "Orthanc (it sends no JSON): check orthanc.url."
            ) from error

    def _ask(self, call: Callable[..., Any], *args: Any, missing: bool = False, **kwargs: Any) -> Any:
        """Return the answer; None for a 404 where something may be ``missing``."""
        try:
            answer: httpx.Response = call(*args, **kwargs)
        except httpx.HTTPError as error:
            raise OrthancError(f"Orthanc at {self._url} does not answer ({error}).") from error
        if missing and answer.status_code == _NOT_FOUND:
            return None
        self._check(answer)
        return answer

    def _check(self, answer: httpx.Response) -> None:
        if answer.is_error:
            raise OrthancError(
                f"Orthanc at {self._url} answers {answer.status_code} to "
                f"{answer.request.method} {answer.request.url.path}{_advice(answer.status_code)}.",
                answer.status_code,
            )


def _numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers; none for a build without one (``mainline``)."""
    parts = re.split(r"[+-]", version, maxsplit=1)[0].split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


def _advice(status: int) -> str:
    return ": check orthanc.username and orthanc.password" if status in (401, 403) else ""
