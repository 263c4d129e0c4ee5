"""manifest.toml: all of it holds, or all its faults are told at once."""

import json

import pytest

from orthanc_al.domain.grouping import Grouping
from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.errors import PackageRefusedError
from orthanc_al.inference.manifest import (
    Calibration,
    FindingEntry,
    Manifest,
    Metric,
    Origin,
    parse_manifest,
)
from orthanc_al.inference.thresholds import Groups, GroupThresholds, Thresholds
from orthanc_al.methods.calibration import Calibrator


def manifest(**changes: object) -> Manifest:
    entry = FindingEntry(
        name="pneumonia",
        code_value="233604007",
        code_scheme="SCT",
        code_meaning="Pneumonia",
        calibrator=Calibrator(0.8, -1.25),
        thresholds=Thresholds(operating=0.3, high=0.6),
    )
    given = {
        "name": "cxr",
        "version": "1.0.0",
        "training_data": "a" * 64,
        "files": {"model.onnx": "b" * 64},
        "preprocessing": PreprocessingSpec(),
        "calibration": Calibration(origin=Origin.FACTORY, by="factory", positives=3, negatives=4),
        "findings": (entry,),
        "metrics": (
            Metric(name="auc", finding="pneumonia", on="held-out", value=0.9, low=0.8, high=0.95, n=10),
        ),
    }
    return Manifest(**{**given, **changes})


def refusal(text: str) -> str:
    with pytest.raises(PackageRefusedError) as caught:
        parse_manifest(text.encode())
    return str(caught.value)


def test_what_is_written_is_read_back() -> None:
    assert parse_manifest(manifest().to_toml()) == manifest()


def test_an_absent_threshold_stays_absent() -> None:
    assert parse_manifest(manifest().to_toml()).findings[0].thresholds.low is None


def test_the_finding_is_the_domains() -> None:
    finding = manifest().findings[0].finding
    assert (finding.name, finding.code.key) == ("pneumonia", ("233604007", "SCT"))


def test_all_faults_are_told_at_once() -> None:
    text = manifest().to_toml().decode()
    text = text.replace("size = 128", "size = 0").replace("slope = 0.8", "slope = -1.0")
    text = text.replace("positives = 3", "positives = -3").replace('version = "1.0.0"', 'version = ""')
    told = refusal(text + "\n[surplus]\n")
    for key in ("preprocessing", "findings.0.calibrator", "calibration.positives", "version", "surplus"):
        assert key in told


@pytest.mark.parametrize("key", ["low_percentile", "slope"])
def test_a_misspelt_key_is_a_fault_and_never_a_default(key: str) -> None:
    assert "keys must be" in refusal(manifest().to_toml().decode().replace(key, f"{key}s"))


def test_the_factorys_labels_support_no_low_tier() -> None:
    text = manifest().to_toml().decode().replace("high = 0.6", "high = 0.6\nlow = 0.1")
    assert "low tier" in refusal(text)
    at_site = parse_manifest(text.replace('origin = "factory"', 'origin = "site"').encode())
    assert at_site.findings[0].thresholds.low == 0.1


def test_a_low_threshold_above_the_high_one_is_a_fault() -> None:
    text = manifest().to_toml().decode().replace("high = 0.6", "high = 0.6\nlow = 0.7")
    assert "would be both" in refusal(text.replace('origin = "factory"', 'origin = "site"'))


def test_a_preprocessing_of_another_program_is_a_fault() -> None:
    assert "not known" in refusal(manifest().to_toml().decode().replace("grey-square", "grey-circle"))


def test_percentiles_in_the_wrong_order_are_a_fault() -> None:
    text = manifest().to_toml().decode()
    assert "low_percentile" in refusal(text.replace("high_percentile = 99.0", "high_percentile = 0.5"))


@pytest.mark.parametrize("version", ["../../escape", ".1", "1/2", "1" * 65, "1\n"])
def test_a_version_that_names_no_folder_is_refused(version: str) -> None:
    text = manifest().to_toml().decode()
    assert "version" in refusal(text.replace('version = "1.0.0"', f"version = {json.dumps(version)}"))


def test_a_manifest_without_the_model_file_is_refused() -> None:
    assert "model.onnx" in refusal(manifest().to_toml().decode().replace('"model.onnx"', '"other.onnx"'))


def test_a_file_name_can_not_leave_the_folder() -> None:
    text = manifest().to_toml().decode()
    assert "files" in refusal(text.replace('"model.onnx"', '"model.onnx" = "' + "c" * 64 + '"\n"../x"'))


def test_a_finding_named_twice_is_a_fault() -> None:
    entry = manifest().findings[0]
    with pytest.raises(ValueError, match="named twice"):
        manifest(findings=(entry, entry))


@pytest.mark.parametrize("data", [b"\xff\xfe", b"name ="])
def test_what_is_no_toml_is_refused(data: bytes) -> None:
    with pytest.raises(PackageRefusedError, match="no TOML"):
        parse_manifest(data)


def test_groups_are_read_back_and_a_manifest_without_them_is_as_before() -> None:
    assert b"groups" not in manifest().to_toml()
    borders = (
        GroupThresholds(name="CR 1", low=0.1, high=0.7, positives=60, negatives=90),
        GroupThresholds(name="", positives=3, negatives=9),
    )
    thresholds = Thresholds(operating=0.5, groups=Groups(by=Grouping.STATION, borders=borders))
    entries = tuple(one.model_copy(update={"thresholds": thresholds}) for one in manifest().findings)
    site = Calibration(origin=Origin.SITE, by="a test", positives=63, negatives=99)
    grouped = manifest(findings=entries, calibration=site)
    assert parse_manifest(grouped.to_toml()) == grouped
    with pytest.raises(ValueError, match="a low tier needs the site's own audit labels"):
        manifest(findings=entries)


@pytest.mark.parametrize("by", [Grouping.NONE, Grouping.SEX])
def test_groups_have_an_attribute_and_each_name_once(by: Grouping) -> None:
    twice = (GroupThresholds(name="F", positives=0, negatives=0),) * (1 if by is Grouping.NONE else 2)
    with pytest.raises(ValueError, match="named once"):
        Groups(by=by, borders=twice)
