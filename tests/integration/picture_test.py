"""Pictures of the class activation: what they show, and that nobody takes them for a film."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import SecondaryCaptureImageStorage

from orthanc_al.domain import Code, Finding, ModelRef, Tier
from orthanc_al.errors import UndecodableError
from orthanc_al.imaging.field import Field
from orthanc_al.inference.running import Models
from orthanc_al.ledger import Ledger, instances, models
from orthanc_al.report.activation import Activations, Looked
from orthanc_al.report.encoding import encoded
from orthanc_al.report.evidence import evidence
from orthanc_al.report.picture import caption_of, painted, secondary_capture
from orthanc_al.report.result import Identity, ImageFinding, Result, Sources, StudyFinding
from orthanc_al.report.stage import Which
from tests.support.radiographs import radiographs, wrap
from tests.support.reading_room import How, ReadingRoom

PNEUMONIA = Finding("pneumonia", Code("233604007", "SCT", "Pneumonia"))
PIXELS = np.tile(np.arange(80, dtype=np.uint8), (96, 1))


def _looked(activation: list[list[float]], field: Field | None = None) -> Looked:
    grey = np.full((400, 300), 0.5, np.float32)
    return Looked(grey, np.array(activation, np.float32), field or Field.whole(400, 300))


def _colour(picture: np.ndarray, row: float, column: float) -> int:
    """How far from grey a place is; (0, 0) is the film's top left corner, (1, 1) the other."""
    pixel = picture[int(row * 399), int(column * 299)].astype(int)
    return int(pixel.max() - pixel.min())


def test_colour_lies_where_the_network_looks_and_nowhere_else() -> None:
    picture = painted(_looked([[0, 0], [0, 5]]), "words")
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (300, 3)
    assert _colour(picture, 0.8, 0.8) > 40
    assert _colour(picture, 0.1, 0.1) == 0


def test_what_speaks_against_the_finding_has_no_colour() -> None:
    picture = painted(_looked([[-3, -1], [-2, -1]]), "words")
    assert _colour(picture, 0.5, 0.5) == 0


def test_the_cells_lie_over_the_part_of_the_film_that_the_network_saw() -> None:
    lower_half = Field(200, 0, 400, 300)
    picture = painted(_looked([[5, 5], [5, 5]], lower_half), "words")
    assert _colour(picture, 0.75, 0.5) > 40
    assert _colour(picture, 0.25, 0.5) == 0


@pytest.mark.parametrize("shape", [(3000, 2500), (40, 2000), (1, 1)])
def test_a_film_of_any_shape_becomes_a_picture_of_modest_size(shape: tuple[int, int]) -> None:
    looked = Looked(np.zeros(shape, np.float32), np.ones((4, 4), np.float32), Field.whole(*shape))
    picture = painted(looked, "AI: pneumonia 0.81")
    assert max(picture.shape) <= 1024 + 64
    assert picture.shape[0] > 0


@pytest.mark.needs_data
@pytest.mark.needs_dicom3tools
def test_a_picture_of_a_real_film_is_a_valid_secondary_capture(data: Path, tmp_path: Path) -> None:
    for film in radiographs(data, 4):
        source = evidence(film.dataset)
        image = ImageFinding(PNEUMONIA, source.SOPInstanceUID, 1, 0.81, None)
        result = Result(
            ModelRef("cxr", "1.0.0", "ab" * 32),
            (StudyFinding(Tier.HIGH, 0.3, (image,)),),
            asked=True,
            device_uid="2.25.123",
            software_version="0.1.0",
            made_at=datetime(2026, 1, 2, 11, tzinfo=UTC),
        )
        pixels = painted(_looked([[0, 5], [0, 0]]), caption_of(image))
        identity = Identity("2.25.1", "2.25.2", 9805)
        document = secondary_capture(result, image, Sources([source]), identity, pixels)
        path = tmp_path / "picture.dcm"
        document.save_as(path, enforce_file_format=True)
        told = subprocess.run(
            ["dciodvfy", str(path)], capture_output=True, text=True, check=False, timeout=60
        )
        lines = (told.stdout + told.stderr).splitlines()
        assert lines
        assert [line for line in lines if line.startswith("Error")] == []
        again = dcmread(path)
        assert list(again.ImageType) == ["DERIVED", "SECONDARY"]
        assert again.BurnedInAnnotation == "YES"
        assert again.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert (again.PatientID, again.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
        assert np.array_equal(again.pixel_array, pixels)
        repeated = secondary_capture(result, image, Sources([source]), identity, pixels)
        assert encoded(repeated) == encoded(document)


@pytest.mark.parametrize(
    ("which", "how", "pictures"),
    [
        ("off", "asked", 0),
        ("review", "unasked", 0),
        ("review", "asked", 1),
        ("all", "unasked", 1),
        ("all", "blind", 0),
    ],
)
def test_a_study_gets_a_picture_as_the_site_wants_it_and_a_blind_one_none(
    ledger: Ledger, tmp_path: Path, which: Which, how: How, pictures: int
) -> None:
    room = ReadingRoom(ledger, tmp_path, picture=which)
    uid = _study(room)
    room.select(uid, how)
    room.report(uid)
    room.report(uid)  # again: nothing exists twice
    made = [one for one in room.sent() if one.SOPClassUID == SecondaryCaptureImageStorage]
    assert len(made) == pictures
    for picture in made:  # it comes back from the PACS: it is ours, and no new image of the study
        room.take_in(picture)
    with ledger.read() as connection:
        images = instances.images_of(instances.of_study(connection, uid))
    assert len(images) == 1


def test_a_picture_that_can_not_be_had_holds_no_report_up(ledger: Ledger, tmp_path: Path) -> None:
    room = ReadingRoom(ledger, tmp_path, picture="all")
    cut = wrap(PIXELS, 1)
    cut.PixelData = b"\0\0"
    uid = _study(room, cut)
    room.select(uid)
    assert room.report(uid).name == "reported"
    assert [one.Modality for one in room.sent()] == ["SR"]


def test_a_frame_that_is_not_there_is_told(ledger: Ledger, tmp_path: Path) -> None:
    room = ReadingRoom(ledger, tmp_path, picture="all")
    path = room.spool.path(room.take_in(wrap(PIXELS, 1)))
    with ledger.read() as connection:
        model = models.get(connection, room.package.ref.digest)
    activations = Activations(Models())
    assert activations.of(path, 1, model, "pneumonia").grey.shape == PIXELS.shape
    with pytest.raises(UndecodableError, match="no frame 7"):
        activations.of(path, 7, model, "pneumonia")


def _study(room: ReadingRoom, film: Dataset | None = None) -> str:
    film = film or wrap(PIXELS, 1)
    room.take_in(film)
    uid = str(film.StudyInstanceUID)
    room.score(uid)
    return uid
