"""With a real Orthanc 1.10.1: places, labels that do not exist there, and configuration as shipped."""

import contextlib
import json
import re
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest

from orthanc_al.domain import StudyState
from orthanc_al.errors import OrthancError
from orthanc_al.ledger import Ledger, studies
from orthanc_al.orthanc import OrthancClient
from orthanc_al.orthanc.client import READ_BY
from orthanc_al.pipeline import Step
from orthanc_al.report.mirror import MirrorStage
from orthanc_al.review import poll_labels
from tests.support.orthanc import PLUGINS, Orthanc
from tests.support.radiographs import wrap
from tests.support.reading_room import ReadingRoom

pytestmark = pytest.mark.needs_orthanc

IMAGE = wrap(np.full((16, 16), 100, np.uint8), 1)
UID = str(IMAGE.StudyInstanceUID)
SAMPLE = Path(__file__).parents[2] / "config" / "orthanc.json"


def _upload(orthanc: Orthanc) -> str:
    buffer = BytesIO()
    IMAGE.save_as(buffer, enforce_file_format=True)
    return str(orthanc.post("/instances", buffer.getvalue())["ParentStudy"])


def _user_metadata() -> object:
    text = re.sub(r"^\s*//.*$", "", SAMPLE.read_text(), flags=re.MULTILINE)
    return json.loads(text)["UserMetadata"]


def test_the_place_is_written_by_name_and_once(ledger: Ledger, tmp_path: Path) -> None:
    room = ReadingRoom(ledger, tmp_path)
    room.take_in(IMAGE)
    room.score(UID)
    room.select(UID)
    with Orthanc(
        tmp_path / "orthanc",
        settings={"UserMetadata": _user_metadata(), "Plugins": [str(PLUGINS / "libOrthancDicomWeb.so")]},
    ) as orthanc:
        client = OrthancClient(orthanc.url)
        stage = MirrorStage(ledger, client)
        with pytest.raises(OrthancError, match="does not have study"):
            stage.run(room.job(Step.MIRROR, UID))
        study = _upload(orthanc)
        for _ in range(2):
            assert room.finish(Step.MIRROR, stage.run(room.job(Step.MIRROR, UID))).name == "mirrored"
        metadata = orthanc.get(f"/studies/{study}/metadata?expand")
        assert metadata["al-read-by"] == "29000000"
        changes = [one["ChangeType"] for one in orthanc.get("/changes?limit=100")["Changes"]]
        assert changes.count("UpdatedMetadata") == 1
        assert client.capabilities().version.startswith("1.1")
        assert client.problems() == []
        client.close()


def test_without_the_name_the_place_is_written_all_the_same_and_doctor_is_told(tmp_path: Path) -> None:
    with Orthanc(tmp_path / "orthanc", settings={"UserMetadata": {}}) as orthanc:
        study = _upload(orthanc)
        client = OrthancClient(orthanc.url)
        assert client.find_study(UID) == study
        assert client.put_read_by(study, 29_000_000)
        assert not client.put_read_by(study, 29_000_000)
        told = [problem.partition(":")[0] for problem in client.problems()]
        assert told == ["Orthanc has no DICOMweb", "Orthanc can't sort by when to read"]
        if not client.capabilities().has_labels:
            assert list(client.labelled("al-read")) == []
        client.close()


def test_an_orthanc_that_is_down_can_be_tried_again(tmp_path: Path) -> None:
    with Orthanc(tmp_path / "orthanc") as orthanc:
        client = OrthancClient(orthanc.url)
        orthanc.stop()
        with pytest.raises(OrthancError) as raised:
            client.find_study(UID)
        assert raised.value.retryable
        orthanc.start()
        assert client.find_study(UID) is None
        client.close()


def test_labels_and_the_order_of_an_orthanc_that_has_them(ledger: Ledger, tmp_path: Path) -> None:
    room = ReadingRoom(ledger, tmp_path)
    room.take_in(IMAGE)
    room.score(UID)
    room.select(UID)
    with (
        Orthanc(tmp_path / "orthanc", settings={"UserMetadata": _user_metadata()}) as orthanc,
        contextlib.closing(OrthancClient(orthanc.url)) as client,
    ):
        can = client.capabilities()
        if not (can.has_labels and can.has_ordering):
            pytest.skip("it has neither labels nor an order: make test-orthanc-current")
        study = _upload(orthanc)
        orthanc.put(f"/studies/{study}/labels/teaching")
        stage = MirrorStage(ledger, client)
        room.finish(Step.MIRROR, stage.run(room.job(Step.MIRROR, UID)))
        assert set(orthanc.get(f"/studies/{study}/labels")) == {"al-high", "teaching"}
        assert _in_order(orthanc, "MetadataAsInt") == _in_order(orthanc, "Metadata")
        with pytest.raises(httpx.HTTPStatusError):
            orthanc.put(f"/studies/{study}/labels/al%20read")
        orthanc.put(f"/studies/{study}/labels/al-read")
        assert poll_labels(ledger, client, trusted=False) == 1
        assert poll_labels(ledger, client, trusted=False) == 0
        room.finish(Step.MIRROR, stage.run(room.job(Step.MIRROR, UID)))
        with ledger.read() as connection:
            found = studies.get(connection, UID)
        assert found is not None
        assert found.state is StudyState.READ
        assert set(orthanc.get(f"/studies/{study}/labels")) == {"al-read", "teaching"}


def _in_order(orthanc: Orthanc, kind: str) -> list[str]:
    """Return the studies by their read-by time, with two more that are read before and after."""
    for number, minutes in ((2, "9999999"), (3, "31000000")):
        buffer = BytesIO()
        wrap(np.full((16, 16), 100, np.uint8), number).save_as(buffer, enforce_file_format=True)
        other = orthanc.post("/instances", buffer.getvalue())["ParentStudy"]
        orthanc.put(f"/studies/{other}/metadata/4200", minutes.rjust(8, "0"))
    order = [{"Type": kind, "Key": READ_BY, "Direction": "ASC"}]
    found = orthanc.post("/tools/find", {"Level": "Study", "Query": {}, "OrderBy": order, "Expand": True})
    uids = [study["MainDicomTags"]["StudyInstanceUID"] for study in found]
    assert uids[1] == UID
    return [str(uid) for uid in uids]
