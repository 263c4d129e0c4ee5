"""What is asked of Orthanc, and how its answers are taken."""

import json

import httpx
import pytest

from orthanc_al.errors import OrthancError
from orthanc_al.orthanc import Capabilities, OrthancClient


class Answers(httpx.BaseTransport):
    """An Orthanc by a table of answers; remembers what was asked."""

    def __init__(self, answers: dict[str, object]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        key = f"{request.method} {request.url.path}"
        self.asked.append((key, request.read().decode()))
        answer = self.answers.get(key, 404)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            return httpx.Response(answer, request=request)
        text = answer if isinstance(answer, str) else json.dumps(answer)
        return httpx.Response(200, text=text, request=request)


def _client(answers: dict[str, object]) -> tuple[OrthancClient, Answers]:
    client = OrthancClient("http://orthanc:8042/", "al", "secret")
    transport = Answers(answers)
    client._api._transport = transport
    client._api._mounts = {}
    return client, transport


OLD = {"Version": "1.10.1"}
NEW = {"Version": "1.12.10", "HasLabels": True, "UserMetadata": {"al-read-by": 4200}}


@pytest.mark.parametrize(
    ("system", "expected", "text"),
    [
        (
            OLD,
            Capabilities("1.10.1", has_labels=False),
            "Orthanc 1.10.1, without labels (they exist since 1.12.0)",
        ),
        (NEW, Capabilities("1.12.10", True), "Orthanc 1.12.10, with labels"),
        ({}, Capabilities("", False), "Orthanc , without labels (they exist since 1.12.0)"),
    ],
)
def test_it_is_asked_what_it_can_do(system: dict[str, object], expected: Capabilities, text: str) -> None:
    client, _ = _client({"GET /system": system})
    assert client.capabilities() == expected
    assert str(expected) == text


def test_a_study_is_found_by_its_uid_among_other_kinds_of_things() -> None:
    found = [{"Type": "Series", "ID": "s"}, {"Type": "Study", "ID": "abc"}]
    client, asked = _client({"POST /tools/lookup": found})
    assert client.find_study("1.2.3") == "abc"
    assert asked.asked == [("POST /tools/lookup", "1.2.3")]
    client, _ = _client({"POST /tools/lookup": []})
    assert client.find_study("1.2.3") is None


def test_the_place_is_written_once() -> None:
    path = "/studies/abc/metadata/4200"
    client, asked = _client({f"GET {path}": "29000000", f"PUT {path}": ""})
    assert not client.put_read_by("abc", 29_000_000)
    assert client.put_read_by("abc", 29_000_001)
    assert asked.asked[-1] == (f"PUT {path}", "29000001")
    client, asked = _client({f"PUT {path}": ""})
    assert client.put_read_by("abc", 29_000_000)


def test_labels_of_others_are_left_alone() -> None:
    client, asked = _client(
        {
            "GET /studies/abc/labels": ["al-high", "al-low", "teaching"],
            "DELETE /studies/abc/labels/al-low": "",
            "PUT /studies/abc/labels/al-ood": "",
        }
    )
    client.put_labels("abc", {"al-high", "al-ood"}, {"al-high", "al-low", "al-ood"})
    assert [key for key, _ in asked.asked[1:]] == [
        "DELETE /studies/abc/labels/al-low",
        "PUT /studies/abc/labels/al-ood",
    ]


def test_an_old_orthanc_is_never_asked_for_labelled_studies() -> None:
    """It would ignore the labels and return every study (FACTS)."""
    client, asked = _client({"GET /system": OLD, "POST /tools/find": [{"MainDicomTags": {}}]})
    assert list(client.labelled("al-read")) == []
    assert [key for key, _ in asked.asked] == ["GET /system"]


def test_a_new_orthanc_is_asked_for_labelled_studies() -> None:
    client, asked = _client({"GET /system": NEW, "POST /tools/find": ["abc"]})
    client._uids["abc"] = "1.2.3"
    assert list(client.labelled("al-read")) == ["1.2.3"]
    assert json.loads(asked.asked[-1][1])["Labels"] == ["al-read"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500, 503])
def test_an_error_of_orthanc_is_one_of_ours_and_can_be_tried_again(status: int) -> None:
    client, _ = _client({"GET /system": status})
    with pytest.raises(OrthancError, match=f"answers {status} to GET /system") as raised:
        client.capabilities()
    assert raised.value.retryable
    assert ("orthanc.username" in str(raised.value)) == (status in (401, 403))
    assert "secret" not in str(raised.value)


def test_what_is_no_orthanc_is_told_and_may_become_one() -> None:
    client, _ = _client(
        {"GET /system": "<html>Sign in</html>", "GET /changes": "", "POST /tools/lookup": "x"}
    )
    for ask in (client.capabilities, client.problems, lambda: client.get("/changes")):
        with pytest.raises(OrthancError, match=r"is no Orthanc .* check orthanc\.url"):
            ask()
    with pytest.raises(OrthancError, match="is no Orthanc"):
        client.find_study("1.2.3")


def test_an_orthanc_that_is_away_is_an_error_of_ours() -> None:
    client, _ = _client({"GET /system": httpx.ConnectError("refused")})
    with pytest.raises(OrthancError, match="does not answer"):
        client.capabilities()
    client.close()


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ({"GET /system": NEW}, False),
        ({"GET /system": {**NEW, "UserMetadata": {}}}, True),
        ({"GET /system": OLD, "GET /studies": []}, False),
        (
            {"GET /system": OLD, "GET /studies": ["a"], "GET /studies/a/metadata": ["LastUpdate", "4200"]},
            True,
        ),
        ({"GET /system": OLD, "GET /studies": ["a"], "GET /studies/a/metadata": ["al-read-by"]}, False),
    ],
)
def test_a_missing_name_for_the_metadata_is_a_problem_that_names_its_cure(
    answers: dict[str, object], problem: bool
) -> None:
    client, _ = _client({"GET /plugins": ["dicom-web"], **answers})
    found = client.problems()
    assert bool(found) == problem
    assert all('"UserMetadata": {"al-read-by": 4200}' in text for text in found)


def test_a_version_that_is_too_old_and_a_missing_dicomweb_are_problems() -> None:
    old = {"Version": "1.9.7", "UserMetadata": {"al-read-by": 4200}}
    client, _ = _client({"GET /system": old, "GET /plugins": ["explorer.js"]})
    too_old, no_viewer = client.problems()
    assert "1.9.7 is older than 1.10.1" in too_old
    assert "no DICOMweb" in no_viewer


@pytest.mark.parametrize("version", ["1.10.1", "1.12.10", "1.12.7+dfsg-4", "mainline", "", "2.0"])
def test_a_newer_version_and_one_without_numbers_are_no_problem(version: str) -> None:
    assert not Capabilities(version, has_labels=False).is_older_than_tried


@pytest.mark.parametrize(("status", "one_thing"), [(404, True), (500, True), (401, False), (503, False)])
def test_an_error_tells_whether_it_is_about_one_thing(status: int, one_thing: bool) -> None:
    client, _ = _client({"GET /instances/x": status})
    with pytest.raises(OrthancError) as raised:
        client.get("/instances/x")
    assert raised.value.is_about_one_thing is one_thing
