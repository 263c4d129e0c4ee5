"""Snapshot, fit, thresholds, package and record, each alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orthanc_al.domain import Grouping, age_group
from orthanc_al.domain.change_page import page
from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.errors import PackageRefusedError
from orthanc_al.inference.package import load_package
from orthanc_al.inference.running import Models
from orthanc_al.inference.session import CPU
from orthanc_al.inference.variant import variant_of
from orthanc_al.learn.finding_model import FindingModel, finding_models
from orthanc_al.learn.fit import Guarantee, recalibrate, refit, set_borders
from orthanc_al.learn.judgement import Verdict
from orthanc_al.learn.pccp import Plan
from orthanc_al.learn.proposals import result_of
from orthanc_al.learn.records import change_record, verdict_of
from orthanc_al.learn.registry import make_package, version_of
from orthanc_al.learn.snapshot import Role, Snapshot, build
from orthanc_al.ledger.learning import LabelledCase
from orthanc_al.ledger.response import Response
from orthanc_al.methods.calibration import Calibrator
from tests.support.tiny_package import tiny_package

GUARANTEE = Guarantee(0.05, 0.10, 0.10)
NOBODY_ASKED = Response(0, 0)


def case(
    number: int, present: bool, kind: str = "audit", fold: str | None = None, **what: object
) -> LabelledCase:
    embedding = np.random.default_rng(number).normal(size=4).astype(np.float32) + (2.0 if present else 0.0)
    values = {
        "study_instance_uid": f"1.{number}",
        "finding": "pneumonia",
        "present": present,
        "patient_key": f"p{number}",
        "kind": kind,
        "propensity": 0.1,
        "fold": fold,
        "ai_shown": False,
        "embedding": embedding,
        "ood": 0.5,
        "station": "",
        "sex": "",
        "birth_date": "",
        "arrived_at": 0.0,
    }
    return LabelledCase(**{**values, **what})


def snapshot(cases: list[LabelledCase], response: Response = NOBODY_ASKED) -> Snapshot:
    audited = {one.patient_key: one.fold for one in cases if one.fold}
    return build("a" * 64, cases, {}, audited, response, 0.2)


def audits(fold: str, positives: int, negatives: int, start: int = 0, **what: object) -> list[LabelledCase]:
    return [case(start + n, n < positives, fold=fold, **what) for n in range(positives + negatives)]


@pytest.fixture
def factory(tmp_path: Path) -> FindingModel:
    return finding_models(tiny_package(tmp_path / "factory"))[0]


# --- snapshot ---------------------------------------------------------------------------------------


def test_of_an_audited_patient_only_blind_audited_reads_count() -> None:
    cases = [
        case(1, True, "query", patient_key="p"),
        case(2, True, "audit", "gate", patient_key="p"),
        case(3, True, "audit", "gate", patient_key="q", ai_shown=True),
        case(4, True, "unasked"),
    ]
    assert snapshot(cases).roles == (Role.LEFT_OUT, Role.GATE, Role.LEFT_OUT, Role.TRAIN)


def test_a_patient_counts_once_however_often_she_is_audited(factory: FindingModel) -> None:
    often = [
        case(n, True, "audit", "thresholds", patient_key=f"p{n % 40}", arrived_at=float(n // 40))
        for n in range(120)
    ]
    made = snapshot(often)
    assert {one.arrived_at for one in made.select("pneumonia", Role.THRESHOLDS).rows} == {0.0}
    assert made.select("pneumonia", Role.LEFT_OUT).positives == 80
    # 120 positive studies of 40 patients support no low tier, which takes 45 of them.
    assert set_borders(made, factory, factory, GUARANTEE).borders.low is None


def test_a_first_audit_that_was_read_with_the_result_in_view_leaves_its_place_to_the_next() -> None:
    seen = case(1, True, "audit", "gate", patient_key="p", arrived_at=1.0, ai_shown=True)
    blind = case(2, True, "audit", "gate", patient_key="p", arrived_at=2.0)
    assert snapshot([seen, blind]).roles == (Role.LEFT_OUT, Role.GATE)


def test_a_known_fold_wins_over_the_audit_s_and_the_loss_is_told() -> None:
    cases = [case(1, True, "audit", "gate"), case(2, False, "audit", "gate")]
    made = build("a" * 64, cases, {"p1": "train"}, {"p1": "gate", "p2": "gate"}, NOBODY_ASKED, 0.2)
    assert made.roles == (Role.TRAIN, Role.GATE)
    assert made.folds == {"p1": "train", "p2": "gate"}
    assert made.audit_overlap == 0.5
    assert snapshot([]).audit_overlap == 0.0


def test_the_digest_is_that_of_the_labels_and_embeddings_in_any_order() -> None:
    cases = audits("gate", 3, 3)
    assert snapshot(cases).digest == snapshot(cases[::-1]).digest
    changed = [replace(cases[0], present=False), *cases[1:]]
    assert snapshot(cases).digest != snapshot(changed).digest
    moved = [replace(cases[0], embedding=cases[0].embedding + 1e-3), *cases[1:]]
    assert snapshot(cases).digest != snapshot(moved).digest


def test_a_role_without_cases_has_the_embeddings_shape() -> None:
    assert snapshot(audits("gate", 1, 1)).select("pneumonia", Role.TRAIN).embeddings.shape == (0, 4)
    assert snapshot([]).select("pneumonia", Role.TRAIN).embeddings.shape == (0, 0)


def test_audits_count_as_answered_until_too_many_are_unread() -> None:
    assert snapshot([], Response(10, 8)).answered
    assert not snapshot([], Response(10, 7)).answered
    assert Response(0, 0).unread_share == 0.0


@pytest.mark.parametrize(
    ("born", "group"),
    [
        ("19990101", "18 to 39"),
        ("20200101", "under 18"),
        ("19300101", "65 and over"),
        ("", ""),
        ("unknown", ""),
        ("20990101", ""),
    ],
)
def test_age_groups_are_by_the_day_of_arrival(born: str, group: str) -> None:
    assert age_group(born, 1_800_000_000.0) == group


def test_a_group_has_borders_from_its_own_positives_and_none_where_they_are_too_few(
    factory: FindingModel,
) -> None:
    rows = audits("thresholds", 60, 60, station="A") + audits("thresholds", 20, 60, start=500, station="B")
    grouped = set_borders(snapshot(rows), factory, factory, replace(GUARANTEE, groups=Grouping.STATION))
    plain = set_borders(snapshot(rows), factory, factory, GUARANTEE)
    assert plain.borders.groups is None
    assert grouped.borders.low == plain.borders.low
    groups = grouped.borders.groups
    assert groups is not None
    first, second = groups.get("A"), groups.get("B")
    assert first is not None
    assert second is not None
    assert (first.positives, second.positives) == (60, 20)
    assert first.low is not None
    assert second.low is None
    alone = set_borders(snapshot(audits("thresholds", 60, 60, station="A")), factory, factory, GUARANTEE)
    assert first.low == alone.borders.low
    entry = grouped.borders.entry()
    assert entry.borders(Grouping.STATION, "A")[0] == first.low
    assert entry.borders(Grouping.STATION, "B")[0] is None
    assert entry.borders(Grouping.STATION, "new scanner") == (None, grouped.borders.high)
    assert entry.borders(Grouping.AGE, "A")[0] is None
    assert entry.borders(Grouping.NONE, "") == (grouped.borders.low, grouped.borders.high)


def test_without_answers_no_group_has_a_low_border(factory: FindingModel) -> None:
    rows = audits("thresholds", 60, 60, station="A")
    grouped = set_borders(
        snapshot(rows, Response(10, 2)), factory, factory, replace(GUARANTEE, groups=Grouping.STATION)
    )
    assert not grouped.borders.entry().has_low


# --- fit --------------------------------------------------------------------------------------------


def test_without_labels_everything_is_the_factory_s(factory: FindingModel) -> None:
    empty = snapshot([])
    assert refit(empty, factory) is factory
    same = set_borders(empty, recalibrate(empty, factory, factory), factory, GUARANTEE)
    assert same.calibrator == factory.calibrator
    assert same.borders == factory.borders


def test_a_head_of_the_site_s_labels_parts_them_better(factory: FindingModel) -> None:
    train = snapshot([case(n, n % 2 == 0, "query") for n in range(80)])
    fresh = [case(1000 + n, n % 2 == 0, "query") for n in range(200)]
    embeddings, labels = np.array([c.embedding for c in fresh]), np.array([c.present for c in fresh])

    def right(model: FindingModel) -> float:
        return float(np.mean((model.logits(embeddings) > 0) == labels))

    assert right(refit(train, factory)) > max(0.9, right(factory))


def test_the_low_tier_is_earned_by_enough_audited_positives_alone(factory: FindingModel) -> None:
    few, enough = snapshot(audits("thresholds", 44, 100)), snapshot(audits("thresholds", 45, 100))
    assert set_borders(few, factory, factory, GUARANTEE).borders.low is None
    earned = set_borders(enough, factory, factory, GUARANTEE).borders
    assert earned.low is not None
    audited = enough.select("pneumonia", Role.THRESHOLDS)
    assert earned.low == factory.probabilities(audited.embeddings)[audited.labels == 1].min()


def test_audits_that_nobody_reads_support_no_low_tier(factory: FindingModel) -> None:
    unread = snapshot(audits("thresholds", 60, 100), Response(100, 50))
    assert set_borders(unread, factory, factory, GUARANTEE).borders.low is None


def test_positives_outside_of_the_domain_are_never_missed(factory: FindingModel) -> None:
    inside = audits("thresholds", 60, 60)
    outside = [replace(one, ood=2.0) if one.present else one for one in inside]
    assert set_borders(snapshot(outside), factory, factory, GUARANTEE).borders.low is None
    assert set_borders(snapshot(inside), factory, factory, GUARANTEE).borders.low is not None


def test_borders_never_cross(factory: FindingModel) -> None:
    apart = [
        replace(one, embedding=(8.0 if one.present else -8.0) * np.sign(factory.weight))
        for one in audits("thresholds", 60, 60)
    ]
    borders = set_borders(snapshot(apart), factory, factory, GUARANTEE).borders
    assert borders.low is not None
    assert borders.high is not None
    assert borders.low <= borders.high


def test_the_operating_threshold_flags_as_many_as_the_factory_s(factory: FindingModel) -> None:
    made = snapshot(audits("calibration", 30, 70))
    squeezed = replace(factory, calibrator=Calibrator(0.1, -1.0))
    moved = set_borders(made, squeezed, factory, GUARANTEE)
    embeddings = made.select("pneumonia", Role.CALIBRATION).embeddings
    before = (factory.probabilities(embeddings) >= factory.borders.operating).sum()
    assert (moved.probabilities(embeddings) >= moved.borders.operating).sum() == before


# --- proposals, package, record ---------------------------------------------------------------------


def learned(tmp_path: Path, plan: Plan | None = None) -> tuple:
    package = tiny_package(tmp_path / "factory")
    factory = finding_models(package)[0]
    cases = (
        [case(n, n % 2 == 0, "query") for n in range(100)]
        + audits("calibration", 30, 60, 1000)
        + audits("gate", 60, 120, 2000)
    )
    made = snapshot(cases)
    return package, made, result_of(made, factory, factory, GUARANTEE, plan or Plan())


def test_what_the_plan_does_not_allow_is_not_proposed(tmp_path: Path) -> None:
    plan = Plan.model_validate({"change": {"may": ["calibrator"]}})
    _, _, result = learned(tmp_path, plan)
    assert [proposal.change for proposal in result.proposals] == ["calibrator and thresholds"]
    assert result.proposals[0].model.borders == finding_models(load_package(tmp_path / "factory"))[0].borders
    nothing = Plan.model_validate({"change": {"may": []}})
    _, _, result = learned(tmp_path, nothing)
    assert result.proposals == ()
    assert result.verdict is Verdict.NOT_BETTER


def test_a_package_says_what_was_judged_and_keeps_the_backbone(tmp_path: Path) -> None:
    package, made, result = learned(tmp_path)
    assert result.verdict is Verdict.BETTER
    new = make_package(tmp_path / "new", package, [result.chosen], made, "1.site.x", parity=1e-5)
    assert new.manifest.parent == package.ref.digest
    assert new.manifest.training_data == made.digest
    assert new.manifest.calibration.positives == 30
    assert new.manifest.metrics[0].name == "auc"
    back = finding_models(new)[0]
    assert np.array_equal(back.weight, result.chosen.weight)
    assert (back.calibrator, back.borders) == (result.chosen.calibrator, result.chosen.borders)
    assert "research use" in (tmp_path / "new" / "MODEL_CARD.md").read_text()


def test_what_is_learned_on_half_precision_stays_held_to_float32(tmp_path: Path) -> None:
    """Its reads were scored by float32 before the variant went live: thresholds on them need the test."""
    package, made, result = learned(tmp_path)
    half = variant_of(package).write(tmp_path / "half")
    new = make_package(tmp_path / "new", half, [result.chosen], made, "1.site.x", parity=1e-5)
    assert new.manifest.run == half.manifest.run
    assert new.manifest.run.converted
    np.testing.assert_array_equal(new.contents.reference, half.contents.reference)
    assert Models().get(new.folder, new.ref).session.provider == CPU
    plain = make_package(tmp_path / "plain", package, [result.chosen], made, "1.site.y", parity=1e-5)
    assert not plain.manifest.run.converted


def test_a_head_with_which_half_precision_does_not_hold_is_refused(tmp_path: Path) -> None:
    package, made, result = learned(tmp_path)
    half = variant_of(package).write(tmp_path / "half")
    steep = replace(result.chosen, weight=result.chosen.weight * np.float32(1e4))
    with pytest.raises(PackageRefusedError, match=r"logits differ by .*Promote the float32 package"):
        make_package(tmp_path / "new", half, [steep], made, "1.site.x", parity=1e-5)
    assert not (tmp_path / "new").exists()


def test_a_network_of_several_channels_gets_a_new_head(tmp_path: Path) -> None:
    spec = PreprocessingSpec("windowed-square", size=32, windows=((-600.0, 1500.0), (40.0, 400.0)))
    package = tiny_package(tmp_path / "factory", preprocessing=spec)
    train = snapshot([case(n, n % 2 == 0, "query") for n in range(20)])
    model = refit(train, finding_models(package)[0])
    assert make_package(tmp_path / "new", package, [model], train, "x", parity=1e-5).ref.version == "x"


def test_a_head_that_onnx_runtime_computes_otherwise_is_refused(tmp_path: Path) -> None:
    package, made, result = learned(tmp_path)
    with pytest.raises(PackageRefusedError, match="differ"):
        make_package(tmp_path / "new", package, [result.chosen], made, "x", parity=1e-30)
    assert not (tmp_path / "new").exists()


def test_without_audit_labels_the_parent_s_calibration_stays(tmp_path: Path) -> None:
    package = tiny_package(tmp_path / "factory")
    train = snapshot([case(n, n % 2 == 0, "query") for n in range(20)])
    model = refit(train, finding_models(package)[0])
    new = make_package(tmp_path / "new", package, [model], train, "x", parity=1e-5)
    assert new.manifest.calibration == package.manifest.calibration
    assert new.manifest.metrics == ()


def test_a_version_stands_for_all_inputs(tmp_path: Path) -> None:
    package, made, _ = learned(tmp_path)
    other = replace(GUARANTEE, miss_rate=0.02)
    ref = package.ref
    versions = {
        version_of(made, ref, ref, GUARANTEE, "{}"),
        version_of(made, ref, ref, other, "{}"),
        version_of(made, ref, ref, GUARANTEE, "{...}"),
        version_of(snapshot([]), ref, ref, GUARANTEE, "{}"),
        version_of(made, ref, replace(ref, digest="9" * 64), GUARANTEE, "{}"),
    }
    assert len(versions) == 5
    assert version_of(made, ref, ref, GUARANTEE, "{}") in versions


def test_the_page_tells_every_check_and_the_way_back(tmp_path: Path) -> None:
    package, made, result = learned(tmp_path)
    record = change_record(
        champion=package.ref,
        anchor=package.ref,
        version="1.site.x",
        snapshot=made,
        results=[result],
        verdict=verdict_of([result]),
        refusal="it rained",
        plan=Plan(),
        at=1_800_000_000.0,
    )
    text = page(record)
    for check in result.proposals[0].judgement.checks:
        assert check.name in text
        assert check.text in text
    assert "models rollback tiny" in text
    assert "it rained" in text
    assert "2027-01-15T08:00:00" in text


# --- bad rows, and reads with a result in view ----------------------------------------------------------


@pytest.mark.parametrize(
    ("embedding", "told"),
    [(np.zeros(5, np.float32), "length 5, the others have 4"), (np.full(4, np.nan), "not finite")],
)
def test_an_embedding_that_can_t_be_used_costs_its_case_alone(embedding: np.ndarray, told: str) -> None:
    cases = [*audits("gate", 3, 3), case(99, True, "audit", "gate", embedding=embedding)]
    made = snapshot(cases)
    assert made.digest == snapshot(cases[:-1]).digest
    assert made.faults == (f"study 1.99, pneumonia: an embedding {_of(told)}",)


def _of(told: str) -> str:
    return f"of {told}" if told.startswith("length") else f"that is {told}"


def test_a_distance_that_is_no_number_is_a_fault_too() -> None:
    assert snapshot([case(1, True, ood=np.inf)]).cases == ()


def test_reads_with_a_result_in_view_count_as_the_site_says(factory: FindingModel) -> None:
    cases = [case(n, n % 2 == 0, "query", ai_shown=n >= 20) for n in range(40)]

    def made(weight: float) -> Snapshot:
        return build("a" * 64, cases, {}, {}, NOBODY_ASKED, 0.2, shown_weight=weight)

    half = made(0.5).select("pneumonia", Role.TRAIN)
    assert half.weights.tolist() == [0.5 if one.ai_shown else 1.0 for one in half.rows]
    assert len(made(0.0).select("pneumonia", Role.TRAIN).rows) == 20
    assert made(0.0).select("pneumonia", Role.LEFT_OUT).positives == 10
    blind = build("a" * 64, cases[:20], {}, {}, NOBODY_ASKED, 0.2)
    heads = [refit(one, factory).weight for one in (made(1.0), made(0.5), made(0.0), blind)]
    assert np.array_equal(heads[2], heads[3])
    assert len({head.tobytes() for head in heads}) == 3
    assert len({made(weight).digest for weight in (0.0, 0.5, 1.0)}) == 3
