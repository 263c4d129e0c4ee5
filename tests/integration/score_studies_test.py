"""From a spooled instance to a placed study: real radiographs, a real ONNX session, the real ledger."""

import time
from pathlib import Path

import pytest
from pydicom.uid import RLELossless
from sqlalchemy import select

from orthanc_al.domain import Grouping, StudyState, Tier
from orthanc_al.domain.criteria import Criteria
from orthanc_al.errors import SpoolFileError
from orthanc_al.inference.thresholds import Groups, GroupThresholds
from orthanc_al.ledger import Job, Ledger, instances, models, predictions, selections, studies, trail
from orthanc_al.ledger.response import ResponseRule
from orthanc_al.ledger.schema import jobs
from orthanc_al.ledger.selections import AUDIT, Selection
from orthanc_al.pipeline import Step
from orthanc_al.score.match import ModelUse
from orthanc_al.triage import TriageStage
from tests.support.pipeline import TARGETS, Pipeline
from tests.support.radiographs import radiographs, wrap
from tests.support.tiny_package import tiny_package

CHEST = ModelUse("tiny", Criteria(("CR", "DX"), ("CHEST",)))


@pytest.fixture
def pipeline(ledger: Ledger, tmp_path: Path) -> Pipeline:
    made = Pipeline(ledger, tmp_path, CHEST)
    made.install(tiny_package(tmp_path / "package"))
    return made


def _study(pipeline: Pipeline, uid: str):
    with pipeline.ledger.read() as connection:
        return studies.get(connection, uid)


def _settle(pipeline: Pipeline) -> None:
    """Work until the quiet time is over and everything behind it is done."""
    pipeline.work()
    time.sleep(0.02)
    pipeline.work()
    with pipeline.ledger.read() as connection:
        left = connection.execute(select(jobs.c.step, jobs.c.state, jobs.c.error)).all()
    assert not [job for job in left if job.step in ("arrive", "score_image", "assemble", "score", "triage")]


@pytest.mark.needs_data
def test_radiographs_come_out_scored_with_a_tier_and_a_time(pipeline: Pipeline, data: Path, tmp_path: Path):
    films = list(radiographs(data, 4))
    for film in films:
        pipeline.receive(film.save(tmp_path / "films"))
    _settle(pipeline)
    for film in films:
        study = _study(pipeline, film.study_instance_uid)
        assert study.state is StudyState.SCORED
        with pipeline.ledger.read() as connection:
            (stored,) = predictions.latest(connection, study.study_instance_uid)
        assert 0 <= stored.prediction.probability <= 1
        assert stored.prediction.tier in (Tier.HIGH, Tier.REVIEW)
        assert stored.why.startswith("pneumonia ")
        arrived = study.arrived_at / 60
        assert arrived + TARGETS.high - 1 <= stored.read_by <= arrived + TARGETS.review
        assert study.read_by == int(arrived + TARGETS.none)  # nothing leaves before the step select


def test_monochrome1_and_12_bits_score_like_the_same_film_in_monochrome2(
    pipeline: Pipeline, tmp_path: Path, grey
):
    for number, options in enumerate(({}, {"monochrome1": True}, {"bits": 12})):
        path = tmp_path / f"{number}.dcm"
        wrap(grey, number, **options).save_as(path, enforce_file_format=True)
        pipeline.receive(path)
    _settle(pipeline)
    with pipeline.ledger.read() as connection:
        logits = [
            predictions.latest(connection, str(wrap(grey, number).StudyInstanceUID))[0].prediction.logit
            for number in range(3)
        ]
    assert logits[1] == pytest.approx(logits[0], abs=1e-3)
    assert logits[2] == pytest.approx(logits[0], abs=1e-3)


def test_the_image_with_the_highest_probability_decides(pipeline: Pipeline, tmp_path: Path, grey):
    for image, pixels in enumerate((grey, grey[::-1].copy(), grey.T.copy())):
        path = tmp_path / f"{image}.dcm"
        wrap(pixels, 1, image=image + 1).save_as(path, enforce_file_format=True)
        pipeline.receive(path)
    _settle(pipeline)
    uid = str(wrap(grey, 1).StudyInstanceUID)
    study = _study(pipeline, uid)
    with pipeline.ledger.read() as connection:
        (stored,) = predictions.latest(connection, uid)
        ids = [one.instance.id for one in instances.of_study(connection, uid)]
        scores = predictions.image_scores_of(connection, ids, stored.model.digest)
    assert study.revision == 3
    assert stored.images == 3
    assert stored.prediction.logit == pytest.approx(max(float(score.logits[0]) for score in scores))
    assert stored.instance_id in {
        s.instance_id for s in scores if s.logits[0] == max(t.logits[0] for t in scores)
    }


def test_a_late_image_reopens_the_study_and_is_scored(pipeline: Pipeline, tmp_path: Path, grey):
    uid = str(wrap(grey, 1).StudyInstanceUID)
    for image in (1, 2):
        path = tmp_path / f"{image}.dcm"
        wrap(grey, 1, image=image).save_as(path, enforce_file_format=True)
        pipeline.receive(path)
        _settle(pipeline)
        study = _study(pipeline, uid)
        assert (study.revision, study.state) == (image, StudyState.SCORED)
    with pipeline.ledger.read() as connection:
        assert predictions.latest(connection, uid)[0].images == 2


def test_an_instance_that_came_twice_and_is_looked_at_in_one_batch_is_one_image(
    pipeline: Pipeline, tmp_path: Path, grey
):
    path = tmp_path / "film.dcm"
    wrap(grey, 1).save_as(path, enforce_file_format=True)
    ids = [pipeline.receive(path) for _ in range(2)]
    assert pipeline.worker.run_once()
    with pipeline.ledger.read() as connection:
        assert sorted(instances.get(connection, one).kind for one in ids) == ["duplicate", "image"]
    _settle(pipeline)
    study = _study(pipeline, str(wrap(grey, 1).StudyInstanceUID))
    assert (study.revision, study.state) == (1, StudyState.SCORED)


def test_the_same_instance_again_changes_nothing(pipeline: Pipeline, tmp_path: Path, grey):
    path = tmp_path / "film.dcm"
    wrap(grey, 1).save_as(path, enforce_file_format=True)
    pipeline.receive(path)
    _settle(pipeline)
    again = pipeline.receive(path)
    _settle(pipeline)
    with pipeline.ledger.read() as connection:
        assert instances.get(connection, again).kind == "duplicate"
    assert _study(pipeline, str(wrap(grey, 1).StudyInstanceUID)).revision == 1


def test_the_same_uid_with_other_bytes_is_kept_and_noted(pipeline: Pipeline, tmp_path: Path, grey):
    path = tmp_path / "film.dcm"
    for pixels in (grey, grey[::-1].copy()):
        wrap(pixels, 1).save_as(path, enforce_file_format=True)
        pipeline.receive(path)
    _settle(pipeline)
    with pipeline.ledger.read() as connection:
        events = [line["action"] for line in trail.recent(connection)]
    assert events[0] == "instance_changed"
    assert _study(pipeline, str(wrap(grey, 1).StudyInstanceUID)).revision == 2


def test_two_patients_under_one_study_uid_are_kept_and_not_scored(pipeline: Pipeline, tmp_path: Path, grey):
    first, second = wrap(grey, 1), wrap(grey, 2)
    second.StudyInstanceUID = first.StudyInstanceUID
    for number, dataset in enumerate((first, second)):
        path = tmp_path / f"{number}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        pipeline.receive(path)
    _settle(pipeline)
    study = _study(pipeline, str(first.StudyInstanceUID))
    assert (study.state, study.reason) == (StudyState.INELIGIBLE, studies.TWO_PATIENTS)
    with pipeline.ledger.read() as connection:
        assert len(instances.of_study(connection, study.study_instance_uid)) == 2
        assert predictions.latest(connection, study.study_instance_uid) == []


def _odd(name: str, dataset) -> str:
    """Make a valid film odd; returns the words that the reason must hold."""
    if name == "colour":
        dataset.PhotometricInterpretation = "RGB"
        return "colour image (RGB)"
    if name == "no pixel data":
        del dataset.PixelData
        return "there is no pixel data"
    if name == "declares more than it has":
        dataset.Rows = dataset.Columns = 60000
        return "are declared"
    if name == "truncated":
        dataset.PixelData = dataset.PixelData[:100]
        return "100 are there"
    if name == "hand":
        dataset.BodyPartExamined = "HAND"
        return "no model is configured for DX of HAND"
    dataset.Modality = "CT"
    return "no model is configured for modality CT"


@pytest.mark.parametrize(
    "name", ["colour", "no pixel data", "declares more than it has", "truncated", "hand", "modality"]
)
def test_a_study_that_can_t_be_scored_says_why(pipeline: Pipeline, tmp_path: Path, grey, name: str):
    dataset = wrap(grey, 1)
    words = _odd(name, dataset)
    path = tmp_path / "odd.dcm"
    dataset.save_as(path, enforce_file_format=True)
    pipeline.receive(path)
    _settle(pipeline)
    study = _study(pipeline, str(dataset.StudyInstanceUID))
    assert study.state is StudyState.INELIGIBLE
    assert words in study.reason


def test_bytes_that_are_no_data_set_are_marked_and_stop_nothing(pipeline: Pipeline, tmp_path: Path, grey):
    ids = [
        pipeline.receive_bytes(junk, "1.2", f"1.2.{number}", syntax)
        for number, junk in enumerate(
            (b"", b"\x08\x00\x05\x00ZZ\xff\xff", b"GET / HTTP/1.1\r\n", b"\xff" * 400)
        )
        for syntax in (
            "1.2.840.10008.1.2",
            "1.2.840.10008.1.2.1",
            "1.2.840.10008.1.2.1.99",
            "1.2.3",
            RLELossless,
        )
    ]
    path = tmp_path / "film.dcm"
    wrap(grey, 1).save_as(path, enforce_file_format=True)
    pipeline.receive(path)
    _settle(pipeline)
    with pipeline.ledger.read() as connection:
        assert {instances.get(connection, one).kind for one in ids} == {"unusable"}
        assert all(instances.get(connection, one).reason for one in ids)
    assert _study(pipeline, str(wrap(grey, 1).StudyInstanceUID)).state is StudyState.SCORED


def test_a_promotion_is_taken_up_by_the_next_study(pipeline: Pipeline, tmp_path: Path, grey):
    second = tiny_package(tmp_path / "second", version="2", seed=1)
    path = tmp_path / "film.dcm"
    digests = []
    for number in (1, 2):
        wrap(grey, number).save_as(path, enforce_file_format=True)
        pipeline.receive(path)
        _settle(pipeline)
        with pipeline.ledger.read() as connection:
            (stored,) = predictions.latest(connection, str(wrap(grey, number).StudyInstanceUID))
        digests.append(stored.model.digest)
        if number == 1:
            with pipeline.ledger.write() as connection:
                parent = digests[0]
                models.add(
                    connection,
                    second.ref,
                    second.folder,
                    parent=parent,
                    origin="retrained",
                    state="candidate",
                )
                models.promote(connection, second.ref.digest, "a test", "a test")
    assert digests[1] == second.ref.digest != digests[0]


def test_a_film_far_from_the_domain_goes_to_review_whatever_its_score(ledger: Ledger, tmp_path: Path, grey):
    pipeline = Pipeline(ledger, tmp_path, CHEST)
    pipeline.install(tiny_package(tmp_path / "package", limit=1e-3, high=0.0))
    path = tmp_path / "film.dcm"
    wrap(grey, 1).save_as(path, enforce_file_format=True)
    pipeline.receive(path)
    _settle(pipeline)
    with pipeline.ledger.read() as connection:
        (stored,) = predictions.latest(connection, str(wrap(grey, 1).StudyInstanceUID))
    assert stored.prediction.tier is Tier.REVIEW
    assert "outside of the model's domain" in stored.why


# --- what comes late, or not at all ----------------------------------------------------------------


def _run(pipeline: Pipeline, step: Step, subject: str) -> str:
    """Run a step out of turn, as after `orthanc-al requeue`; returns the outcome's name."""
    return pipeline.stages[step].run(Job(1, step, subject, 1, "test")).name


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (Step.SCORE_IMAGE, "later"),
        (Step.ASSEMBLE, "unchanged"),
        (Step.SCORE, "superseded"),
        (Step.TRIAGE, "superseded"),
    ],
)
def test_a_step_about_something_unknown_does_nothing(pipeline: Pipeline, step: Step, name: str):
    assert _run(pipeline, step, "0" * 32) == name


def test_an_instance_that_the_ledger_lacks_is_an_error_that_says_what_to_do(pipeline: Pipeline):
    with pytest.raises(SpoolFileError, match="doctor"):
        _run(pipeline, Step.ARRIVE, "0" * 32)


def test_other_modalities_are_scored_when_their_study_is_complete_frame_by_frame(
    ledger: Ledger, tmp_path: Path, grey
):
    pipeline = Pipeline(ledger, tmp_path, ModelUse("tiny", Criteria(("US",))))
    pipeline.install(tiny_package(tmp_path / "package"))
    film = wrap(grey, 1)
    film.Modality, film.NumberOfFrames, film.PixelData = "US", 11, grey.tobytes() * 10 + grey[::-1].tobytes()
    path = tmp_path / "film.dcm"
    film.save_as(path, enforce_file_format=True)
    instance_id = pipeline.receive(path)
    pipeline.worker.run_once()  # arrive
    assert _run(pipeline, Step.SCORE_IMAGE, instance_id) == "later"
    _settle(pipeline)
    with ledger.read() as connection:
        (stored,) = predictions.latest(connection, str(film.StudyInstanceUID))
        scores = predictions.image_scores_of(connection, [instance_id], stored.model.digest)
    assert [score.frame for score in scores] == list(range(1, 12))
    assert stored.images == 11


def test_without_an_installed_package_the_study_says_so(ledger: Ledger, tmp_path: Path, grey):
    pipeline = Pipeline(ledger, tmp_path, CHEST)
    path = tmp_path / "film.dcm"
    wrap(grey, 1).save_as(path, enforce_file_format=True)
    pipeline.receive(path)
    _settle(pipeline)
    study = _study(pipeline, str(wrap(grey, 1).StudyInstanceUID))
    assert study.reason == "no package of the model tiny is installed"
    pipeline.install(tiny_package(tmp_path / "package"))
    assert _run(pipeline, Step.SCORE, study.study_instance_uid) == "scored"  # as after a requeue
    pipeline.spool.remove(next(iter(pipeline.spool.ids())))
    assert _run(pipeline, Step.SCORE, study.study_instance_uid) == "ineligible"


def test_a_colour_image_among_others_does_not_keep_its_study_from_a_score(
    ledger: Ledger, tmp_path: Path, grey
):
    pipeline = Pipeline(ledger, tmp_path, ModelUse("tiny", Criteria(("US",))))
    pipeline.install(tiny_package(tmp_path / "package"))
    for image, photometric in ((1, "MONOCHROME2"), (2, "PALETTE COLOR")):
        film = wrap(grey, 1, image=image)
        film.Modality, film.PhotometricInterpretation = "US", photometric
        path = tmp_path / f"{image}.dcm"
        film.save_as(path, enforce_file_format=True)
        pipeline.receive(path)
    _settle(pipeline)
    study = _study(pipeline, str(film.StudyInstanceUID))
    assert (study.state, study.reason) == (StudyState.SCORED, None)
    with ledger.read() as connection:
        known = instances.of_study(connection, study.study_instance_uid)
    assert [(one.kind, one.reason) for one in known] == [
        ("image", None),
        ("unusable", "colour image (PALETTE COLOR)"),
    ]


def test_a_study_that_is_read_before_its_score_is_scored_all_the_same_and_stays_off_the_worklist(
    pipeline: Pipeline, tmp_path: Path, grey
):
    path = tmp_path / "film.dcm"
    wrap(grey, 1).save_as(path, enforce_file_format=True)
    pipeline.receive(path)
    pipeline.worker.run_once()
    uid = str(wrap(grey, 1).StudyInstanceUID)
    with pipeline.ledger.write() as connection:
        studies.close(connection, uid, StudyState.READ, 1.0)
    _settle(pipeline)
    assert _study(pipeline, uid).state is StudyState.READ
    with pipeline.ledger.read() as connection:
        assert len(predictions.latest(connection, uid)) == 1


def test_new_images_that_come_while_a_study_is_scored_win(pipeline: Pipeline, tmp_path: Path, grey):
    uid = str(wrap(grey, 1).StudyInstanceUID)
    for image in (1, 2):
        path = tmp_path / f"{image}.dcm"
        wrap(grey, 1, image=image).save_as(path, enforce_file_format=True)
        pipeline.receive(path)
        if image == 1:
            _settle(pipeline)
            outcome = pipeline.stages[Step.SCORE].run(Job(1, Step.SCORE, uid, 1, "test"))
        else:
            pipeline.worker.run_once()
    with pipeline.ledger.write() as connection:
        outcome.write(connection)
    assert _study(pipeline, uid).state is StudyState.ARRIVING
    assert _run(pipeline, Step.SCORE, uid) == "superseded"
    assert _run(pipeline, Step.TRIAGE, uid) == "superseded"
    _settle(pipeline)
    assert _study(pipeline, uid).state is StudyState.SCORED


def test_the_low_tier_goes_as_soon_as_too_many_audits_are_unanswered(ledger: Ledger, tmp_path: Path, grey):
    pipeline = Pipeline(ledger, tmp_path, CHEST)
    factory = tiny_package(tmp_path / "factory", version="1")
    earned = tiny_package(tmp_path / "earned", version="2", low=1.0, high=1.0)
    pipeline.install(factory)
    with ledger.write() as connection:
        models.add(
            connection,
            earned.ref,
            earned.folder,
            parent=factory.ref.digest,
            origin="retrained",
            state="candidate",
        )
        models.promote(connection, earned.ref.digest, "a test", "a test")
    tiers = []
    for number in (1, 2):
        path = tmp_path / "film.dcm"
        wrap(grey, number).save_as(path, enforce_file_format=True)
        pipeline.receive(path)
        _settle(pipeline)
        uid = str(wrap(grey, number).StudyInstanceUID)
        tiers.append(_tier(ledger, uid))
        audit = Selection(
            "2.25.1", AUDIT, "random", 0.1, "seed", 0.0, "1970-01-01", fold="gate", signed_at=1.0
        )
        with ledger.write() as connection:
            selections.add(connection, audit)
    assert tiers == [Tier.LOW, Tier.REVIEW]


def _tier(ledger: Ledger, uid: str) -> Tier:
    with ledger.read() as connection:
        (stored,) = predictions.latest(connection, uid)
    return stored.prediction.tier


@pytest.mark.parametrize(
    ("groups", "tier"),
    [(Grouping.NONE, Tier.LOW), (Grouping.STATION, Tier.LOW), (Grouping.SEX, Tier.REVIEW)],
)
def test_a_guarantee_for_each_group_is_the_group_s_own(
    ledger: Ledger, tmp_path: Path, grey, groups: Grouping, tier: Tier
) -> None:
    """The package has a border for this scanner; where the site asks for one by sex, nothing is low."""
    pipeline = Pipeline(ledger, tmp_path, CHEST)
    film = wrap(grey, 1)
    film.StationName = "CR 1"
    station = GroupThresholds(name="CR 1", low=1.0, high=1.0, positives=50, negatives=0)
    earned = tiny_package(
        tmp_path / "earned",
        version="2",
        low=1.0,
        high=1.0,
        groups=Groups(by=Grouping.STATION, borders=(station,)),
    )
    factory = tiny_package(tmp_path / "factory", version="1")
    pipeline.install(factory)
    with ledger.write() as connection:
        models.add(
            connection,
            earned.ref,
            earned.folder,
            parent=factory.ref.digest,
            origin="retrained",
            state="known",
        )
        models.promote(connection, earned.ref.digest, "a test", "a test")
    film.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    pipeline.receive(tmp_path / "film.dcm")
    _settle(pipeline)
    uid = str(film.StudyInstanceUID)
    stage = TriageStage(ledger, pipeline.running, TARGETS, ResponseRule(1.0, 1.0), groups=groups)
    outcome = stage.run(Job(1, Step.TRIAGE, uid, 1, "test"))
    with ledger.write() as connection:
        outcome.write(connection)
    assert _tier(ledger, uid) is tier
