"""With a real Orthanc 1.10.1: places, labels that do not exist there, and configuration as shipped."""

import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from orthanc_al.errors import OrthancError
from orthanc_al.ledger import Ledger
from orthanc_al.orthanc import OrthancClient
from orthanc_al.pipeline import Step
from orthanc_al.report.mirror import MirrorStage
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
