"""From a header to plain values, tolerant of anything but missing UIDs."""

from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from pydicom import Dataset

from orthanc_al.errors import InstanceError, NotAnInstanceError
from orthanc_al.imaging.decode import grey_images
from orthanc_al.imaging.header import body_part, header_of
from orthanc_al.imaging.reading import read_header
from tests.support.radiographs import wrap


def test_a_film_s_header_is_read(grey):
    header = header_of(wrap(grey, 7))
    assert header.modality == "DX"
    assert header.patient_id == "T00007"
    assert header.patient_name == "Test^007"
    assert header.body_part == "CHEST"
    assert header.image_type == ("ORIGINAL", "PRIMARY", "")
    assert header.pixels
    assert header.priority == ""
    assert header.expected_instances is None


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SOPInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize("value", ["", None, "1.2.a", "1..2", "1." * 40, "x"])
def test_a_missing_or_wrong_uid_is_named(grey, keyword, value):
    dataset = wrap(grey, 1)
    setattr(dataset, keyword, value)
    with pytest.raises(NotAnInstanceError, match=keyword):
        header_of(dataset)
    delattr(dataset, keyword)
    with pytest.raises(NotAnInstanceError, match=f"{keyword} is missing"):
        header_of(dataset)


def test_a_data_set_with_the_uids_alone_is_enough():
    dataset = Dataset()
    dataset.StudyInstanceUID, dataset.SOPInstanceUID, dataset.SOPClassUID = "1.2", "1.2.3", "1.2.4"
    header = header_of(dataset)
    assert (header.modality, header.patient_id, header.pixels) == ("", "", False)


@pytest.mark.parametrize(
    ("values", "priority"),
    [
        ({"RequestedProcedurePriority": "STAT"}, "STAT"),
        ({"RequestedProcedurePriority": "high "}, "HIGH"),
        ({}, ""),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_the_order_s_priority_is_found(grey, values, priority, nested):
    dataset, item = wrap(grey, 1), Dataset()
    for keyword, value in values.items():
        setattr(item if nested else dataset, keyword, value)
    dataset.RequestAttributesSequence = [item]
    assert header_of(dataset).priority == priority


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"NumberOfStudyRelatedInstances": "4"}, 4),
        ({"NumberOfSeriesRelatedInstances": "4"}, None),
        ({"NumberOfSeriesRelatedInstances": "4", "NumberOfStudyRelatedSeries": "1"}, 4),
        ({"NumberOfSeriesRelatedInstances": "4", "NumberOfStudyRelatedSeries": "2"}, None),
        ({"NumberOfStudyRelatedInstances": "0"}, None),
    ],
)
def test_a_count_is_taken_only_where_it_is_the_study_s(grey, values, expected):
    dataset = wrap(grey, 1)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    assert header_of(dataset).expected_instances == expected


def test_the_body_part_comes_from_the_anatomic_region_where_it_is_not_examined(grey):
    dataset = wrap(grey, 1)
    del dataset.BodyPartExamined
    assert body_part(dataset) == "CHEST"
    del dataset.AnatomicRegionSequence
    assert body_part(dataset) == ""


def test_text_loses_control_characters_and_is_cut():
    dataset = Dataset()
    dataset.StudyInstanceUID, dataset.SOPInstanceUID, dataset.SOPClassUID = "1.2", "1.2.3", "1.2.4"
    dataset.add_new("PatientID", "LO", " a\x00b\x1b\n" + "x" * 500)
    dataset.add_new("PatientName", "PN", b"\xff\xfe^\x80")
    header = header_of(dataset)
    assert header.patient_id.startswith("abxx")
    assert len(header.patient_id) == 128
    header.patient_name.encode()


def test_a_value_that_can_t_be_converted_is_left_out():
    class Stubborn(Dataset):
        def get(self, key, default=None):
            if key == "Modality":
                raise NotImplementedError
            return super().get(key, default)

    dataset = Stubborn()
    dataset.StudyInstanceUID, dataset.SOPInstanceUID, dataset.SOPClassUID = "1.2", "1.2.3", "1.2.4"
    assert header_of(dataset).modality == ""


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=6), st.floats(0, 1))
def test_damaged_files_raise_nothing_but_our_errors(grey, tmp_path: Path, damages, length):
    path = tmp_path / "film.dcm"
    wrap(grey, 1).save_as(path, enforce_file_format=True)
    data = bytearray(path.read_bytes())
    for where, what in damages:
        start = 132 + int(where * 1500)
        data[start : start + len(what)] = what
    path.write_bytes(data[: int(len(data) * length) + 132])
    for reason in (_reason(lambda: header_of(read_header(path))), _reason(lambda: list(grey_images(path)))):
        assert reason is None or (reason and "Test^" not in reason)


def _reason(read: Callable[[], object]) -> str | None:
    try:
        read()
    except InstanceError as error:
        return str(error)
    return None
