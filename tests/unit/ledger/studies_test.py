"""Studies and predictions in the ledger."""

from dataclasses import replace

import numpy as np
import pytest

from orthanc_al.domain import ImageScore, Instance, ModelRef, Origin, Prediction, Region, StudyState, Tier
from orthanc_al.domain.header import Header
from orthanc_al.ledger import Ledger, instances, predictions, selections, studies
from orthanc_al.ledger.predictions import ScoredImage, StoredPrediction

pytestmark = pytest.mark.both_databases

FILM = Header("1.2", "1.2.1", "1.2.840", "1.2.3", modality="DX", patient_id="P", body_part="CHEST")
SR = replace(FILM, modality="SR", sop_instance_uid="1.2.9", body_part="")


def _arrive(ledger: Ledger, header: Header = FILM, key: str = "p", at: float = 60.0, *, image: bool = True):
    with ledger.write() as connection:
        return studies.arrive(connection, header, key, at, int(at / 60) + 240, image=image)[0]


def _now(ledger: Ledger):
    with ledger.read() as connection:
        return studies.get(connection, "1.2")


def _complete(ledger: Ledger, study) -> bool:
    with ledger.write() as connection:
        return studies.complete(connection, study, "quiet", 100.0)


def test_a_new_study_stands_on_the_worklist_at_once(ledger: Ledger):
    study = _arrive(ledger)
    assert (study.state, study.revision, study.read_by) == (StudyState.ARRIVING, 1, 241)
    with ledger.read() as connection:
        assert studies.get(connection, "1.3") is None
        assert [one.study_instance_uid for one in studies.of_patient(connection, "p")] == ["1.2"]


def test_each_new_image_is_a_revision_and_other_objects_are_not(ledger: Ledger):
    _arrive(ledger)
    study = _arrive(ledger, SR, at=90.0, image=False)
    assert (study.revision, study.last_received_at, study.modality) == (1, 60.0, "DX")
    assert _arrive(ledger, at=120.0).revision == 2


def test_the_first_image_names_the_modality_of_a_study_that_began_with_a_report(ledger: Ledger):
    assert _arrive(ledger, SR, image=False).modality == "SR"
    study = _arrive(ledger)
    assert (study.modality, study.revision) == ("DX", 1)


def test_what_the_first_instance_lacked_is_filled_in_and_what_it_had_stays(ledger: Ledger):
    _arrive(ledger, replace(FILM, patient_id="", description=""), key="unknown")
    study = _arrive(ledger, replace(FILM, description="Chest", accession_number="A1", body_part="HAND"))
    assert (study.patient_key, study.reason) == ("p", None)
    with ledger.read() as connection:
        assert [one.study_instance_uid for one in studies.of_accession(connection, "A1")] == ["1.2"]


def test_a_second_patient_leaves_the_first_one_s_key_and_a_reason_that_stays(ledger: Ledger):
    _arrive(ledger)
    study = _arrive(ledger, replace(FILM, patient_id="Q"), key="q")
    assert (study.patient_key, study.reason) == ("p", studies.TWO_PATIENTS)
    assert _arrive(ledger).reason == studies.TWO_PATIENTS


def test_a_revision_is_completed_and_scored_only_while_it_is_the_current_one(ledger: Ledger):
    seen = _arrive(ledger)
    _arrive(ledger, at=70.0)
    assert not _complete(ledger, seen)
    assert _complete(ledger, _now(ledger))
    with ledger.write() as connection:
        assert not studies.mark_scored(connection, seen)
        assert studies.mark_scored(connection, studies.get(connection, "1.2"))
        assert studies.completed_revision(connection, "1.2") == 2
    assert _now(ledger).state is StudyState.SCORED


def test_an_arriving_study_can_t_be_scored(ledger: Ledger):
    study = _arrive(ledger)
    with ledger.write() as connection:
        assert not studies.mark_scored(connection, study)
        assert not studies.mark_ineligible(connection, study, "colour", 5)
        assert not studies.mark_scored(connection, replace(study, study_instance_uid="9"))


def test_an_ineligible_study_takes_the_place_of_one_without_a_score(ledger: Ledger):
    _complete(ledger, _arrive(ledger))
    with ledger.write() as connection:
        selections.place(connection, "1.2", Tier.HIGH, "why", 10, 1.0)
        assert studies.mark_ineligible(connection, studies.get(connection, "1.2"), "colour", 241)
    study = _now(ledger)
    assert (study.state, study.reason, study.read_by) == (StudyState.INELIGIBLE, "colour", 241)
    assert _arrive(ledger, at=120.0).reason is None


@pytest.mark.parametrize("state", [StudyState.READ, StudyState.EXPIRED])
def test_a_study_off_the_worklist_takes_results_but_stays_off_until_a_new_image_comes(ledger: Ledger, state):
    study = _arrive(ledger)
    with ledger.write() as connection:
        assert studies.close(connection, "1.2", state, 80.0)
        assert not studies.close(connection, "1.2", state, 81.0)
        assert studies.complete(connection, study, "quiet", 90.0)
        assert studies.mark_scored(connection, study)
        assert studies.mark_ineligible(connection, study, "late", 5)
    assert (_now(ledger).state, _now(ledger).reason) == (state, "late")
    back = _arrive(ledger, at=600.0)
    assert (back.state, back.revision, back.arrived_at, back.read_by) == (StudyState.ARRIVING, 2, 600.0, 250)


def test_closing_needs_a_state_that_is_off_the_worklist(ledger: Ledger):
    _arrive(ledger)
    with ledger.write() as connection, pytest.raises(ValueError, match="on the worklist"):
        studies.close(connection, "1.2", StudyState.SCORED, 1.0)


def test_priority_and_count_come_from_whichever_instance_has_them(ledger: Ledger):
    _arrive(ledger)
    _arrive(ledger, replace(FILM, priority="STAT", expected_instances=2))
    with ledger.read() as connection:
        assert studies.priority(connection, "1.2") == "STAT"
        assert studies.expected_instances(connection, "1.2") == 2
        assert studies.priority(connection, "9") == ""


# --- predictions -----------------------------------------------------------------------------------

_EMBEDDING = np.arange(4, dtype=np.float32)


def _stored(digest: str, *, revision: int = 1, finding: str = "x", at: float = 1.0, name: str = "m"):
    said = Prediction("1.2", revision, digest, finding, 0.5, 0.6, 0.1, 0.9, Tier.NONE)
    return StoredPrediction(said, ModelRef(name, digest, digest), "i", 1, 2, _EMBEDDING, at)


def _put(ledger: Ledger, *stored: StoredPrediction) -> None:
    with ledger.write() as connection:
        predictions.put(connection, stored)


def test_a_prediction_comes_back_as_it_was_written_and_twice_is_once(ledger: Ledger):
    one = _stored("d")
    _put(ledger, one)
    _put(ledger, one)
    with ledger.write() as connection:
        (back,) = predictions.latest(connection, "1.2")
        assert np.array_equal(back.embedding, _EMBEDDING)
        assert replace(back, embedding=_EMBEDDING) == one
        predictions.place(connection, [(one.prediction, Tier.HIGH, "because", 77)])
        (placed,) = predictions.latest(connection, "1.2")
    assert (placed.prediction.tier, placed.why, placed.read_by) == (Tier.HIGH, "because", 77)


def test_the_newest_scoring_of_each_model_counts(ledger: Ledger):
    _put(ledger, _stored("old", at=1.0), _stored("new", at=2.0), _stored("new", finding="y", at=2.0))
    _put(ledger, _stored("other", name="n", at=0.5))
    with ledger.read() as connection:
        found = predictions.of_revision(connection, "1.2", 1)
    assert [(one.model.digest, one.prediction.finding) for one in found] == [
        ("new", "x"),
        ("new", "y"),
        ("other", "x"),
    ]


def test_the_latest_predictions_are_those_of_the_newest_revision(ledger: Ledger):
    _put(ledger, _stored("d"), _stored("d", revision=3))
    with ledger.read() as connection:
        assert [one.prediction.revision for one in predictions.latest(connection, "1.2")] == [3]
        assert predictions.latest(connection, "9") == []


def test_scores_of_images_come_back_with_their_regions(ledger: Ledger):
    origin = Origin("A", "B", "B", "pacs", None, "dicom")
    score = ImageScore("i" * 32, 2, np.array([1.5, -2], np.float32), _EMBEDDING, (Region(1, 2, 3, 4), None))
    with ledger.write() as connection:
        instances.add(connection, Instance("i" * 32, "1", "1.2", "1.2", 1, 0.0), origin, [])
        for _ in range(2):
            predictions.put_image_scores(connection, [ScoredImage(score, "d")])
        (back,) = predictions.image_scores_of(connection, ["i" * 32], "d")
        assert predictions.image_scores_of(connection, ["i" * 32], "other") == []
    assert (back.frame, back.regions) == (2, score.regions)
    assert np.array_equal(back.logits, score.logits)
    assert np.array_equal(back.embedding, _EMBEDDING)
